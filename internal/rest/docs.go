package rest

import (
	"embed"
	"net/http"
	"path"
)

//go:embed docs
var docFiles embed.FS

// docs answers with a page that shows the OpenAPI document. It loads nothing from
// anywhere else.
func (a *api) docs(w http.ResponseWriter, r *http.Request) error {
	name := r.PathValue("file")
	if name == "" {
		name = "index.html"
	}
	raw, err := docFiles.ReadFile(path.Join("docs", path.Base(name)))
	if err != nil {
		return refuse(http.StatusNotFound, "there is no %s", clip(r.URL.Path))
	}
	kinds := map[string]string{".html": "text/html; charset=utf-8", ".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8"}
	w.Header().Set("Content-Type", kinds[path.Ext(name)])
	w.Header().Set("Content-Security-Policy", "default-src 'self'; frame-ancestors 'none'")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	_, _ = w.Write(raw) // the client went away, if at all
	return nil
}
