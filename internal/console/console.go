// Package console is the web page of the control plane: what runs where, why it does not,
// what a plan would change, and the acts that a person may do about it.
//
//	browser -> console -> HTTP API, in the same process -> state
//
// The console knows the HTTP API and nothing else. Each page asks the API in the name of
// whoever looks at it, so a page shows what that person may see, secrets masked, and an
// act succeeds if the API lets that person do it (docs/adr/0058).
package console

import (
	"bytes"
	"context"
	"embed"
	"errors"
	"fmt"
	"html/template"
	"io/fs"
	"log/slog"
	"net/http"
	"net/url"
	"path"
	"slices"
	"strings"
	"time"
)

var (
	//go:embed static
	staticFiles embed.FS
	//go:embed templates
	templateFiles embed.FS
)

// A Console serves pages at / and below /ui/. API and Now are required.
type Console struct {
	API http.Handler // the whole HTTP API, with its own checks of who asks
	Now func() time.Time
	Log *slog.Logger // of who did what here; nil: nothing is logged

	Provider Provider // signs people in; nil: they paste a token
}

// A Provider signs people in on its own pages. Begin returns the address of those; from
// there people come back to callback with state and a code, for which Finish gets a token.
// secret is known to the visitor's browser alone.
type Provider interface {
	Begin(ctx context.Context, callback, state, secret string) (address string, err error)
	Finish(ctx context.Context, callback, code, secret string) (token string, err error)
}

// policy allows scripts, styles and connections of this server alone.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; " +
	"form-action 'self'; base-uri 'none'; frame-ancestors 'none'"

// Handler serves the console, and hands every other request to the API.
func (c *Console) Handler() http.Handler {
	s := &server{Console: *c, pages: parsePages()}
	if s.Log == nil {
		s.Log = slog.New(slog.DiscardHandler)
	}
	mux := http.NewServeMux()
	for pattern, show := range s.routes() {
		mux.Handle(pattern, s.visited(show))
	}
	files, err := fs.Sub(staticFiles, "static")
	if err != nil {
		panic(err) // it is embedded
	}
	mux.Handle("GET /ui/static/", http.StripPrefix("/ui/static/", cached(http.FileServerFS(files))))
	mux.Handle("/", s.visited(func(*visit) error { return &problem{Status: http.StatusNotFound, Detail: "There is no such page."} }))
	guarded := http.NewCrossOriginProtection().Handler(mux)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/" && !strings.HasPrefix(r.URL.Path, "/ui/") {
			c.API.ServeHTTP(w, r)
			return
		}
		h := w.Header()
		h.Set("Content-Security-Policy", policy)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "same-origin")
		guarded.ServeHTTP(w, r)
	})
}

// cached lets browsers keep files for an hour: they change with the program.
func cached(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "max-age=3600")
		next.ServeHTTP(w, r)
	})
}

// server is a console at work.
type server struct {
	Console
	pages map[string]*template.Template
}

type shower func(*visit) error

func (s *server) routes() map[string]shower {
	out := map[string]shower{
		"GET /{$}":                s.overview,
		"GET /ui/live":            s.live,
		"GET /ui/signin":          s.signinPage,
		"POST /ui/signin":         s.signin,
		"GET /ui/signin/provider": s.leave,
		"GET /ui/signin/callback": s.comeBack,
		"POST /ui/signout":        s.signout,
		"GET /ui/topology":        s.topology,
		"GET /ui/graph":           s.graph,
		"GET /ui/events":          s.events,
		"GET /ui/plans":           s.plans,
		"POST /ui/plans":          s.tryPlan,
		"GET /ui/plans/{id}":      s.plan,
		"GET /ui/dead":            s.dead,
		"GET /ui/placement/{key}": s.placement,
	}
	for _, k := range kinds() {
		out["GET /ui/"+k.path] = func(v *visit) error { return s.list(v, k) }
		out["GET /ui/"+k.path+"/{key...}"] = func(v *visit) error { return s.detail(v, k) }
	}
	for _, a := range acts() {
		out["GET /ui/act/"+a.name] = func(v *visit) error { return s.confirm(v, a) }
		out["POST /ui/act/"+a.name] = func(v *visit) error { return s.carryOut(v, a) }
	}
	return out
}

// A visit is one request for a page.
type visit struct {
	*server
	w   http.ResponseWriter
	r   *http.Request
	who identity
	now time.Time
}

// visited finds out who asks, and turns errors into pages.
func (s *server) visited(show shower) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		v := &visit{server: s, w: w, r: r, now: s.Now()}
		err := v.get("/auth/whoami", nil, &v.who)
		if err == nil || strings.HasPrefix(r.URL.Path, "/ui/signin") || r.URL.Path == "/ui/signout" {
			err = show(v)
		}
		if err != nil {
			v.fail(err)
		}
	})
}

// fail shows an error. Who is not known, or no more, may sign in.
func (v *visit) fail(err error) {
	if v.r.Context().Err() != nil {
		return // nobody is listening any more
	}
	p := new(problem)
	if !errors.As(err, &p) {
		p = &problem{Status: http.StatusInternalServerError, Detail: "The page cannot be made: " + err.Error()}
	}
	if p.Status == http.StatusUnauthorized {
		forget(v.w, v.r)
		back := url.Values{"next": {v.r.URL.RequestURI()}}
		if v.r.Method != http.MethodGet {
			back.Del("next")
		}
		http.Redirect(v.w, v.r, "/ui/signin?"+back.Encode(), http.StatusSeeOther)
		return
	}
	p.Title = http.StatusText(p.Status)
	if failed := v.render(p.Status, "problem", "", p.Title, p); failed != nil {
		http.Error(v.w, p.Error(), p.Status)
	}
}

// A frame is what every page has around its own content.
type frame struct {
	Title, Section, URL, Flash string
	Who                        identity
	Now                        time.Time
	Page                       any
	Live                       bool // the page can be asked for again
}

// render answers with a page. Nothing is sent if it cannot be made.
func (v *visit) render(status int, name, section, title string, page any) error {
	var b bytes.Buffer
	f := frame{Title: title, Section: section, URL: v.r.URL.RequestURI(), Who: v.who, Now: v.now, Page: page}
	f.Flash, f.Live = done[v.r.URL.Query().Get("done")], v.r.Method == http.MethodGet && section != "" && status == http.StatusOK
	if err := v.pages[name].ExecuteTemplate(&b, "base.html", f); err != nil {
		return fmt.Errorf("page %s: %w", name, err)
	}
	v.w.Header().Set("Content-Type", "text/html; charset=utf-8")
	v.w.Header().Set("Cache-Control", "no-store")
	v.w.WriteHeader(status)
	_, _ = v.w.Write(b.Bytes()) // the client went away, if at all
	return nil
}

// parsePages reads each template with the frame around it.
func parsePages() map[string]*template.Template {
	names, err := fs.Glob(templateFiles, "templates/*.html")
	if err != nil {
		panic(err) // the pattern is right
	}
	shared := []string{"templates/base.html", "templates/parts.html"}
	base := template.Must(template.New("").Funcs(functions).ParseFS(templateFiles, shared...))
	out := map[string]*template.Template{}
	for _, name := range names {
		if !slices.Contains(shared, name) {
			out[strings.TrimSuffix(path.Base(name), ".html")] = template.Must(template.Must(base.Clone()).ParseFS(templateFiles, name))
		}
	}
	return out
}
