package view

// The statuses of a [Check].
const (
	CheckOK      = "ok"
	CheckWarning = "warning"
	CheckError   = "error"
)

// A Check is one thing that was looked at.
type Check struct {
	Name    string `json:"name"`
	Status  string `json:"status"` // ok, warning or error
	Message string `json:"message"`
	Next    string `json:"next,omitempty"` // what to do about it
}

// Doctor prints what was looked at, in that order.
func (o Output) Doctor(checks []Check) error {
	if o.Format == JSON || o.Format == YAML {
		return o.Document(struct {
			FormatVersion string  `json:"formatVersion"`
			Checks        []Check `json:"checks"`
		}{FormatVersion, checks})
	}
	mark := map[string]string{CheckOK: green("ok"), CheckWarning: yellow("warning"), CheckError: red("error")}
	var t table
	for _, c := range checks {
		t.add(mark[c.Status], clean(c.Name), clean(c.Message))
		if c.Next != "" {
			t.add("", "", faint("→ ")+clean(c.Next))
		}
	}
	return o.print(t.render(""))
}
