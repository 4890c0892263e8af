//go:build endurance

package e2e_test

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// Hostile calls over HTTP/2 in the clear are refused, whether as Connect or as plain HTTP, at
// a bounded cost, and the daemon answers afterwards.
func TestHostileCallsOverHTTP2(t *testing.T) {
	w := newWatched(t, "limits: {rate: -1, time: 3s}\n")
	p := new(http.Protocols)
	p.SetUnencryptedHTTP2(true)
	client := &http.Client{Transport: &http.Transport{Protocols: p}}
	t.Cleanup(client.CloseIdleConnections)
	const apply = "/oprc.v1.PackageService/ApplyPackages"
	deep := strings.Repeat(`{"a":`, 50_000) + "1" + strings.Repeat("}", 50_000)
	units := "name: big\nfunctions: [{name: f, provision: {knative: {image: x/f:1}}}]\nclasses: [{name: c, functions: [{name: f, function: .f}]}]\ndeployments: [{_key: .c, partitionCount: 1000000}]\n"
	silent, never := io.Pipe()
	defer func() { _ = never.Close() }()
	before, _ := w.memory()
	for _, c := range []struct {
		name, path, kind string
		body             io.Reader
		header           string
		want             []int // 0: the connection or stream is broken off
	}{
		{"a body that never comes", apply, "application/json", silent, "", []int{0, 408, 499}},
		{"a body without an end", apply, "application/json", endlessZeros{}, "", []int{0, 413, 429}},
		{"deep JSON", apply, "application/json", strings.NewReader(deep), "", []int{400}},
		{"a million partitions", apply, "application/json", bytes.NewReader([]byte(fmt.Sprintf(`{"packages":%q}`, units))), "", []int{400}},
		{"a million partitions over HTTP", "/packages", "application/yaml", strings.NewReader(units), "", []int{400}},
		{"a body without an end over HTTP", "/packages", "application/yaml", endlessZeros{}, "", []int{0, 413}},
		{"a header of 1 MB", apply, "application/json", strings.NewReader("{}"), strings.Repeat("h", 1<<20), []int{0, 431}},
	} {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+w.addr+c.path, c.body)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Content-Type", c.kind)
		if c.header != "" {
			r.Header.Set("X-Bomb", c.header)
		}
		began, status, said := time.Now(), 0, ""
		if res, err := client.Do(r); err == nil {
			raw, _ := io.ReadAll(io.LimitReader(res.Body, 300))
			_ = res.Body.Close()
			status, said = res.StatusCode, string(raw)
		}
		ok := status == http.StatusGatewayTimeout // the machine is busy, and a call may take 3 s
		for _, want := range c.want {
			ok = ok || status == want
		}
		_, most := w.memory()
		t.Logf("%s: %d after %.1f s, memory at most %d MB: %.120s", c.name, status, time.Since(began).Seconds(), most>>20, said)
		if !ok {
			t.Errorf("%s: got %d %s, want one of %v", c.name, status, said, c.want)
		}
	}
	began := time.Now()
	resets := rapidReset(t, w.addr, 20_000)
	_, most := w.memory()
	t.Logf("%d streams begun and reset in %.1f s, memory at most %d MB", resets, time.Since(began).Seconds(), most>>20)
	if grown := most - before; grown > 300<<20 {
		t.Errorf("the memory grew by %d MB", grown>>20)
	}
	within(t, patience, "the daemon answers", func() string {
		res, err := http.Get("http://" + w.addr + "/packages")
		if err != nil {
			return err.Error()
		}
		_ = res.Body.Close()
		if res.StatusCode != http.StatusOK {
			return res.Status
		}
		return ""
	})
}

// endlessZeros is a body without an end.
type endlessZeros struct{}

func (endlessZeros) Read(p []byte) (int, error) { return len(p), nil }

// rapidReset begins streams on one connection and resets each at once, until there were so
// many or the server ends the connection.
func rapidReset(t *testing.T, addr string, most int) (done int) {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	go func() { _, _ = io.Copy(io.Discard, conn) }()
	_ = conn.SetWriteDeadline(time.Now().Add(patience))
	if _, err := io.WriteString(conn, http2.ClientPreface); err != nil {
		t.Fatal(err)
	}
	f := http2.NewFramer(conn, nil)
	var block bytes.Buffer
	encoder := hpack.NewEncoder(&block)
	if err := f.WriteSettings(); err != nil {
		t.Fatal(err)
	}
	for ; done < most; done++ {
		block.Reset()
		for _, h := range [][2]string{{":method", "GET"}, {":scheme", "http"}, {":authority", addr}, {":path", "/packages"}} {
			_ = encoder.WriteField(hpack.HeaderField{Name: h[0], Value: h[1]}) // to memory
		}
		id := uint32(2*done + 1)
		if f.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: block.Bytes(), EndStream: true, EndHeaders: true}) != nil ||
			f.WriteRSTStream(id, http2.ErrCodeCancel) != nil {
			return done
		}
	}
	return done
}
