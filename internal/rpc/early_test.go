package rpc_test

import (
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/oaas-platform/oprc/internal/rest"
)

// What is refused before there is a message to call with has a code and a text, but no
// problem: docs/api.md says so, case by case.
func TestRefusalsBeforeTheCall(t *testing.T) {
	url, client := serve(t, rest.Access{}), plain(t, false)
	for name, c := range map[string]struct {
		method, media, body string
		header              [2]string
		status              int
		code                string // "": the answer has no body
	}{
		"JSON that ends early":        {body: "{", status: 400, code: "invalid_argument"},
		"no JSON":                     {status: 400, code: "invalid_argument"},
		"a member that there is not":  {body: `{"no": 1}`, status: 400, code: "invalid_argument"},
		"protocol buffers that break": {media: "application/proto", body: "\xff\xff", status: 400, code: "invalid_argument"},
		"gzip that is none":           {body: "{}", header: [2]string{"Content-Encoding", "gzip"}, status: 400, code: "invalid_argument"},
		"no compression known here":   {body: "{}", header: [2]string{"Content-Encoding", "br"}, status: 501, code: "unimplemented"},
		"too large":                   {body: `{"packages": "` + strings.Repeat("x", 2<<20) + `"}`, status: 429, code: "resource_exhausted"},
		"a time that is none":         {body: "{}", header: [2]string{"Connect-Timeout-Ms", "soon"}, status: 400, code: "invalid_argument"},
		"a deadline that is over":     {body: "{}", header: [2]string{"Connect-Timeout-Ms", "0"}, status: 504, code: "deadline_exceeded"},
		"another version of Connect":  {body: "{}", header: [2]string{"Connect-Protocol-Version", "9"}, status: 400, code: "invalid_argument"},
		"another media type":          {media: "application/xml", body: "<a/>", status: 415},
		"another method":              {method: "GET", status: 405},
	} {
		t.Run(name, func(t *testing.T) {
			method, media := "POST", "application/json"
			if c.method != "" {
				method, media = c.method, ""
			}
			if c.media != "" {
				media = c.media
			}
			req, err := http.NewRequestWithContext(t.Context(), method, url+"/oprc.v1.PackageService/ApplyPackages", strings.NewReader(c.body))
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("Content-Type", media)
			if c.header[0] != "" {
				req.Header.Set(c.header[0], c.header[1])
			}
			res, err := client.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			defer res.Body.Close()
			raw, err := io.ReadAll(res.Body)
			if err != nil {
				t.Fatal(err)
			}
			var got struct {
				Code    string
				Message string
				Details []any
			}
			if len(raw) > 0 {
				if err := json.Unmarshal(raw, &got); err != nil {
					t.Fatal(err, string(raw))
				}
			}
			if res.StatusCode != c.status || got.Code != c.code || (got.Message == "") != (c.code == "") || got.Details != nil {
				t.Errorf("got %s %s", res.Status, raw)
			}
		})
	}
}
