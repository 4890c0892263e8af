package rest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/oaas-platform/oprc/internal/oprc"
	"github.com/oaas-platform/oprc/internal/plan"
)

// hidden stands where an answer would name an environment beyond the caller's limits.
const hidden = "(hidden)"

var (
	// envMembers are the members of answers that name an environment, or several.
	envMembers = []string{"env", "targetEnv", "targetEnvs", "environments", "observed"}
	// verbatim are members that answer with what somebody wrote: a name in them is not taken
	// from the state, and who writes the document back must not write something else.
	verbatim = []string{"description", "config", "labels", "options", "override", "defaultArgs", "macro", "provision", "kubernetes"}
)

// An elsewhere takes the environments beyond a caller's limits out of answers.
type elsewhere struct {
	who   *Identity
	names []string        // of environments beyond the limits, the longest first
	known map[string]bool // the names
}

// elsewhere is what is beyond the limits of who asks; nil: nothing is.
func (a *api) elsewhere(r *http.Request) (*elsewhere, error) {
	if who := caller(r); who.narrow() {
		names, err := a.Control.EnvironmentNames(r.Context())
		if err != nil {
			return nil, fmt.Errorf("environments beyond the limits: %w", err)
		}
		return who.elsewhere(names), nil
	}
	return nil, nil
}

// narrow reports whether not every environment is for this caller.
func (i *Identity) narrow() bool { return len(i.Environments) > 0 }

// elsewhere is what is beyond the limits of the environments with these names.
func (i *Identity) elsewhere(names []string) *elsewhere {
	e := &elsewhere{who: i, known: map[string]bool{}}
	e.learn(names...)
	return e
}

func (e *elsewhere) learn(names ...string) {
	were := len(e.names)
	for _, name := range names {
		if !e.known[name] && e.beyond(name) {
			e.known[name] = true
			e.names = append(e.names, name)
		}
	}
	if len(e.names) > were {
		slices.SortFunc(e.names, func(a, b string) int { return len(b) - len(a) })
	}
}

func (e *elsewhere) beyond(env string) bool { return env != "" && !matches(e.who.Environments, env) }

// hide returns a JSON text without what is in environments beyond the limits: what is
// there is not listed, and other words do not name them.
func (e *elsewhere) hide(raw []byte) ([]byte, error) {
	if e == nil {
		return raw, nil
	}
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.UseNumber()
	var doc any
	if err := dec.Decode(&doc); err != nil {
		return nil, fmt.Errorf("read an answer: %w", err)
	}
	e.gather("", doc)
	if len(e.names) == 0 {
		return raw, nil
	}
	out, err := json.Marshal(e.without("", doc))
	if err != nil {
		return nil, fmt.Errorf("encode answer: %w", err)
	}
	return out, nil
}

// gather learns the names of environments that an answer tells by its form: ones that are
// gone are in the past of a package, and nowhere else.
func (e *elsewhere) gather(member string, v any) {
	switch v := v.(type) {
	case map[string]any:
		for name, inner := range v {
			e.learn(envOfUnit(name))
			if slices.Contains(envMembers, member) {
				e.learn(name)
			}
			if !own(name, inner) {
				e.gather(name, inner)
			}
		}
	case []any:
		for _, inner := range v {
			e.gather(member, inner)
		}
	case string:
		e.learn(envOfUnit(v))
		if slices.Contains(envMembers, member) {
			e.learn(v)
		}
	}
}

// without is a value without what is elsewhere; member is what it is, or is an item, of.
func (e *elsewhere) without(member string, v any) any {
	switch v := v.(type) {
	case map[string]any:
		for name, inner := range v {
			switch {
			case e.there(member, name):
				delete(v, name)
			case !own(name, inner):
				v[name] = e.without(name, inner)
			}
		}
	case []any:
		rest := slices.DeleteFunc(v, func(item any) bool { return e.there(member, item) })
		for n := range rest {
			rest[n] = e.without(member, rest[n])
		}
		return rest
	case string:
		if slices.Contains(envMembers, member) && e.beyond(v) {
			return hidden
		}
		return e.text(v)
	}
	return v
}

// there reports whether an item of a list, or the key of one, is in an environment beyond
// the limits, or is one.
func (e *elsewhere) there(member string, item any) bool {
	switch item := item.(type) {
	case string:
		return e.beyond(envOfUnit(item)) || slices.Contains(envMembers, member) && e.beyond(item)
	case map[string]any:
		for _, name := range []string{"env", "targetEnv"} {
			if env, ok := item[name].(string); ok && e.beyond(env) {
				return true
			}
		}
	}
	return false
}

// own reports whether a member is somebody's own: that of a function named env holds
// variables.
func own(name string, v any) bool {
	_, one := v.(string)
	return slices.Contains(verbatim, name) || name == "env" && !one
}

// envOfUnit is the environment in the id of a unit; "" of anything else.
func envOfUnit(id string) string {
	if strings.ContainsAny(id, " \n\t") { // a sentence
		return ""
	}
	_, _, _, env, _ := oprc.ParseUnitID(strings.TrimPrefix(id, "unit/"))
	return env
}

// text is a text without the names. In a sentence each word counts; what has no blank
// names something itself, which may be called as an environment is, and names an
// environment only behind a sign that says so.
func (e *elsewhere) text(s string) string {
	if e == nil {
		return s
	}
	sentence := strings.ContainsAny(s, " \n\t")
	for _, name := range e.names {
		s = replaceWord(s, name, sentence)
	}
	return s
}

func replaceWord(s, name string, sentence bool) string {
	var out strings.Builder
	for {
		at := strings.Index(s, name)
		if at < 0 {
			return out.String() + s
		}
		before, after := s[:at], s[at+len(name):]
		whole := (before == "" || !inName(before[len(before)-1])) && (after == "" || !inName(after[0]))
		if before == "" && out.Len() > 0 {
			whole = false // it goes on from a word that was passed over
		}
		marked := strings.HasSuffix(before, "@") || strings.HasSuffix(before, "environment/") || strings.HasSuffix(before, "://")
		out.WriteString(before)
		if whole && (sentence || marked) {
			out.WriteString(hidden)
		} else {
			out.WriteString(name)
		}
		s = after
	}
}

func inName(c byte) bool {
	return c == '-' || c == '_' || '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
}

// findings are those of a request of the caller's, without the environments beyond the
// limits: neither the list of those that there are, nor what is said of one of them.
func (e *elsewhere) findings(all oprc.Diagnostics) oprc.Diagnostics {
	if e == nil {
		return all
	}
	out := slices.Clone(all)
	for n, d := range out {
		if d.Code == oprc.CodeEnvironment {
			out[n].Message, _, _ = strings.Cut(d.Message, "; known: ")
			if strings.HasPrefix(d.Hint, "did you mean ") {
				out[n].Hint = "name one that is there for you: oprc get environments"
			}
			continue
		}
		out[n].Message, out[n].Hint = e.text(d.Message), e.text(d.Hint)
	}
	return out
}

// within is a plan that the caller may see without what names environments and packages
// beyond the limits: what it rests on, and what findings say that there is. Its id covers
// none of that.
func (a *api) within(r *http.Request, p *plan.Plan) (*plan.Plan, error) {
	who := caller(r)
	if p == nil || !who.limited() {
		return p, nil
	}
	others, err := a.elsewhere(r)
	if err != nil {
		return nil, err
	}
	bare := *p
	bare.Base = plan.Base{Packages: among(who.Packages, p.Base.Packages), Environments: among(who.Environments, p.Base.Environments), Observed: among(who.Environments, p.Base.Observed)}
	bare.Diagnostics = others.findings(p.Diagnostics)
	return &bare, nil
}
