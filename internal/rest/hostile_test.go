package rest_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/oaas-platform/oprc/internal/rest"
)

// zeros is a body without an end.
type zeros struct{ read int }

func (z *zeros) Read(p []byte) (int, error) {
	clear(p)
	z.read += len(p)
	return len(p), nil
}

// A few bytes do not make the server allocate hundreds of times as many, and it works afterwards.
func TestHostileBodiesAreRefusedCheaply(t *testing.T) {
	w := newWorld(t, func(s *rest.Server) { s.Bounds.Body = 512 << 10 })
	var chain strings.Builder
	chain.WriteString("name: chain\nclasses:\n- {name: c0}\n")
	for i := 1; i < 4000; i++ {
		fmt.Fprintf(&chain, "- {name: c%d, parents: [.c%d]}\n", i, i-1)
	}
	const units = "name: big\nfunctions: [{name: f, provision: {knative: {image: x/f:1}}}]\nclasses: [{name: c, functions: [{name: f, function: .f}]}]\ndeployments: [{_key: .c, partitionCount: 1000000}]\n"
	deep := `{"name":"deep","classes":` + strings.Repeat("[", 100_000) + strings.Repeat("]", 100_000) + "}"
	endless := &zeros{}
	for _, c := range []struct {
		name, method, path, kind string
		body                     io.Reader
		status                   int
		code                     string
		most                     uint64 // bytes that may be allocated, by client and server
	}{
		{"a million partitions", "POST", "/packages", "application/yaml", strings.NewReader(units), 400, "E021", 64 << 20},
		{"a chain of 4,000 classes", "POST", "/packages", "application/yaml", strings.NewReader(chain.String()), 400, "E021", 256 << 20},
		{"deep JSON in a package", "POST", "/packages", "application/json", strings.NewReader(deep), 400, "E021", 64 << 20},
		{"deep JSON in a plan", "POST", "/plan", "application/json", strings.NewReader(deep), 400, "E021", 64 << 20},
		{"deep JSON in a deployment", "POST", "/deployments", "application/json", strings.NewReader(deep), 400, "", 64 << 20},
		{"a body without an end", "POST", "/packages", "application/yaml", endless, 413, "", 64 << 20},
	} {
		t.Run(c.name, func(t *testing.T) {
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			r, err := http.NewRequestWithContext(t.Context(), c.method, w.url+c.path, c.body)
			if err != nil {
				t.Fatal(err)
			}
			r.Header.Set("Content-Type", c.kind)
			res, err := http.DefaultClient.Do(r)
			if err != nil {
				t.Fatal(err)
			}
			defer res.Body.Close()
			raw, err := io.ReadAll(res.Body)
			runtime.ReadMemStats(&after)
			if err != nil || res.StatusCode != c.status || !strings.Contains(string(raw), c.code) {
				t.Errorf("got %d, want %d %s: %v %s", res.StatusCode, c.status, c.code, err, clipped(string(raw)))
			}
			if used := after.TotalAlloc - before.TotalAlloc; used > c.most {
				t.Errorf("%d MB were allocated", used>>20)
			} else {
				t.Logf("%d kB were allocated", used>>10)
			}
		})
	}
	if endless.read > 64<<20 {
		t.Errorf("%d bytes were read of a body without an end", endless.read)
	}
	w.want(w.get("/packages"), 200)
}

// A body that does not arrive in time is answered with 408: never with an empty answer that
// looks like a good one.
func TestASlowBodyIsRefused(t *testing.T) {
	w := newWorld(t, func(s *rest.Server) { s.Bounds.Time = time.Second })
	conns := map[string]net.Conn{}
	for path, kind := range map[string]string{
		"/packages": "application/yaml", "/plan": "application/yaml", "/deployments": "application/json",
		"/apply": "application/vnd.oprc.request+json", "/environments": "application/yaml",
	} {
		conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", strings.TrimPrefix(w.url, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		conns[path] = conn
		fmt.Fprintf(conn, "POST %s HTTP/1.1\r\nHost: localhost\r\nContent-Type: %s\r\nContent-Length: 1000\r\n\r\n{", path, kind)
	}
	for path, conn := range conns {
		res, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		if res.StatusCode != http.StatusRequestTimeout || res.Header.Get("Content-Type") != "application/problem+json" {
			t.Errorf("%s: got %d %v", path, res.StatusCode, res.Header)
		}
	}
}
