package view

import "strings"

// A Context is a named place where state is.
type Context struct {
	Name    string `json:"name"`
	Current bool   `json:"current"`
	Server  string `json:"server,omitempty"`
	Redis   string `json:"redis,omitempty"`
}

// Contexts prints the contexts. Their URLs must not hold passwords.
func (o Output) Contexts(list []Context) error {
	switch o.Format {
	case JSON, YAML:
		return o.Document(struct {
			FormatVersion string    `json:"formatVersion"`
			Items         []Context `json:"items"`
		}{FormatVersion, list})
	case Name:
		var b strings.Builder
		for _, c := range list {
			b.WriteString(clean(c.Name) + "\n")
		}
		return o.print(b.String())
	}
	t := table{header: []string{"CURRENT", "NAME", "SERVER", "REDIS"}}
	for _, c := range list {
		current := ""
		if c.Current {
			current = "*"
		}
		t.add(current, clean(c.Name), dash(c.Server), dash(c.Redis))
	}
	return o.print(t.render(""))
}

// A Version says which build runs.
type Version struct {
	FormatVersion string `json:"formatVersion"`
	Version       string `json:"version"`
	Commit        string `json:"commit,omitempty"`
	Date          string `json:"date,omitempty"`
	Modified      bool   `json:"modified,omitempty"`
	Go            string `json:"go"`
	Platform      string `json:"platform"`
}

// Version prints the build.
func (o Output) Version(v Version) error {
	if o.Format == JSON || o.Format == YAML {
		return o.Document(v)
	}
	var t table
	t.add("oprc", v.Version)
	if v.Commit != "" {
		commit := v.Commit
		if v.Modified {
			commit += " (modified)"
		}
		t.add("commit", commit)
	}
	if v.Date != "" {
		t.add("built", v.Date)
	}
	t.add("go", v.Go)
	t.add("platform", v.Platform)
	return o.print(t.render(""))
}

// Problem prints an error for people, with the next step where there is one.
func Problem(err error, next string) string {
	var b strings.Builder
	b.WriteString(red("Error:") + " " + multiline(err.Error()) + "\n")
	if next != "" {
		b.WriteString("  " + multiline(next) + "\n")
	}
	return b.String()
}

// Hint is a remark for stderr.
func Hint(s string) string { return faint("→ ") + multiline(s) + "\n" }

// multiline is clean for text whose line breaks are wanted. No line starts with "::": a
// runner would carry it out.
func multiline(s string) string {
	lines := strings.Split(strings.TrimRight(s, "\n"), "\n")
	for i, l := range lines {
		lines[i] = clean(l)
		if rest := strings.TrimSpace(lines[i]); i > 0 && strings.HasPrefix(rest, "::") {
			lines[i] = "\u200b" + rest
		}
	}
	return strings.Join(lines, "\n")
}
