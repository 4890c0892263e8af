package gittest

import (
	"encoding/pem"
	"net/http"
	"net/http/cgi"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// A Server serves a repository over HTTP.
type Server struct {
	*httptest.Server
	URL string // of the repository; whatever follows the host, it is this repository

	mu             sync.Mutex
	count          Count
	status         int
	user, password string
}

// Count is what a server was asked since the last count.
type Count struct {
	Lists, Fetches int   // listings of refs, and of those that went on to ask for objects
	Sent           int64 // bytes of answers to fetches
}

// Serve serves the repository at http://HOST/acme/shop.git.
func (r *Repo) Serve(t testing.TB) *Server {
	t.Helper()
	return r.serve(t, (*httptest.Server).Start)
}

// ServeTLS serves the repository over https, with a certificate that is signed by
// what the PEM file ca holds.
func (r *Repo) ServeTLS(t testing.TB) (s *Server, ca string) {
	t.Helper()
	s = r.serve(t, (*httptest.Server).StartTLS)
	ca = filepath.Join(t.TempDir(), "ca.pem")
	block := &pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw}
	if err := os.WriteFile(ca, pem.EncodeToMemory(block), 0o600); err != nil {
		t.Fatal(err)
	}
	return s, ca
}

func (r *Repo) serve(t testing.TB, start func(*httptest.Server)) *Server {
	t.Helper()
	backend := &cgi.Handler{
		Path: filepath.Join(r.Git("--exec-path"), "git-http-backend"),
		Env:  []string{"GIT_PROJECT_ROOT=" + r.Dir, "GIT_HTTP_EXPORT_ALL=1"},
	}
	s := &Server{}
	s.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(rw http.ResponseWriter, req *http.Request) {
		if i := strings.LastIndex(req.URL.Path, ".git/"); i >= 0 {
			req.URL.Path = "/.git/" + req.URL.Path[i+len(".git/"):]
		}
		status := s.asked(req)
		switch status {
		case 0:
			backend.ServeHTTP(&counter{rw, s, req.Method == http.MethodPost}, req)
		case http.StatusUnauthorized:
			rw.Header().Set("WWW-Authenticate", "Basic")
			fallthrough
		default:
			http.Error(rw, "told to", status)
		}
	}))
	start(s.Server)
	t.Cleanup(s.Close)
	s.URL = s.Server.URL + "/acme/shop.git"
	return s
}

// asked counts a request, and returns what it is refused with, or 0.
func (s *Server) asked(r *http.Request) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case strings.HasSuffix(r.URL.Path, "/info/refs"):
		s.count.Lists++
	case strings.HasSuffix(r.URL.Path, "/git-upload-pack"):
		s.count.Fetches++
	}
	if user, password, _ := r.BasicAuth(); user != s.user || password != s.password {
		return http.StatusUnauthorized
	}
	return s.status
}

// Ask makes the server let in only who knows the password.
func (s *Server) Ask(user, password string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.user, s.password = user, password
}

// Fail makes the server answer everything with an HTTP status; 0 ends that.
func (s *Server) Fail(status int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.status = status
}

// Since returns what the server was asked since the last call.
func (s *Server) Since() Count {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.count
	s.count = Count{}
	return c
}

type counter struct {
	http.ResponseWriter
	s     *Server
	fetch bool
}

func (c *counter) Write(p []byte) (int, error) {
	if c.fetch {
		c.s.mu.Lock()
		c.s.count.Sent += int64(len(p))
		c.s.mu.Unlock()
	}
	return c.ResponseWriter.Write(p)
}
