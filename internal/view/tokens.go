package view

import (
	"strings"
	"time"
)

// A Token is a row of [Output.Tokens]. Limits are patterns; none limits nothing.
type Token struct {
	Name, Role                      string
	Created, Expires                time.Time // zero: unknown, never
	By                              string
	Packages, Environments, Origins []string
}

// Tokens prints tokens as a table, or their names; doc is what JSON and YAML print.
func (o Output) Tokens(tokens []Token, doc any) error {
	switch o.Format {
	case JSON, YAML:
		return o.Document(doc)
	case Name:
		var b strings.Builder
		for _, t := range tokens {
			b.WriteString(clean(t.Name) + "\n")
		}
		return o.print(b.String())
	}
	if len(tokens) == 0 {
		return o.print("No tokens.\n")
	}
	t := table{header: []string{"NAME", "ROLE", "PACKAGES", "ENVIRONMENTS", "EXPIRES", "AGE", "BY"}}
	if o.Format == Wide {
		t.header = append(t.header, "ORIGINS")
	}
	for _, k := range tokens {
		row := []string{clean(k.Name), clean(k.Role), patterns(k.Packages), patterns(k.Environments), o.expiry(k.Expires), o.age(k.Created), dash(k.By), patterns(k.Origins)}
		t.add(row[:len(t.header)]...)
	}
	return o.print(t.render(""))
}

func patterns(of []string) string {
	if len(of) == 0 {
		return "*"
	}
	return clean(strings.Join(of, ","))
}

// expiry is a date: when a token ends matters more than in how many days.
func (o Output) expiry(t time.Time) string {
	switch {
	case t.IsZero():
		return "never"
	case !o.Now.IsZero() && t.Before(o.Now):
		return "expired"
	}
	return t.UTC().Format(time.RFC3339)
}
