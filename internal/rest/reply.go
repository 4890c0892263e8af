package rest

import (
	"compress/gzip"
	"encoding/json"
	"fmt"
	"hash/fnv"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"

	"github.com/oaas-platform/oprc/internal/oprc"
)

// reply answers with v as JSON, with secrets masked, and without what is beyond the
// caller's limits of environments.
func (a *api) reply(w http.ResponseWriter, r *http.Request, status int, v any) error {
	raw, err := a.encode(r, v)
	if err != nil {
		return err
	}
	return a.send(w, r, status, append(raw, '\n'))
}

// say answers with v, which holds nothing of the state: it does not need the state.
func (a *api) say(w http.ResponseWriter, r *http.Request, status int, v any) error {
	raw, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("encode answer: %w", err)
	}
	return a.send(w, r, status, append(raw, '\n'))
}

// send answers with JSON. To a read it says 304 where the client has this very answer
// already, and it compresses what is worth it.
func (a *api) send(w http.ResponseWriter, r *http.Request, status int, raw []byte) error {
	h := w.Header()
	h.Set("Content-Type", jsonType)
	h.Set("X-Content-Type-Options", "nosniff")
	reads := r.Method == http.MethodGet || r.Method == http.MethodHead
	if reads && status == http.StatusOK {
		h.Set("Cache-Control", "no-cache")
		h.Add("Vary", "Accept-Encoding, Authorization")
		if h.Get("ETag") == "" {
			h.Set("ETag", `"`+contentTag(raw)+`"`)
		}
		if known(r.Header.Get("If-None-Match"), h.Get("ETag")) {
			h.Del("Content-Type")
			w.WriteHeader(http.StatusNotModified)
			return nil
		}
	}
	if len(raw) < worthZip || !takesZip(r) {
		h.Set("Content-Length", strconv.Itoa(len(raw)))
		w.WriteHeader(status)
		_, _ = w.Write(raw) // the client went away, if at all
		return nil
	}
	h.Set("Content-Encoding", "gzip")
	w.WriteHeader(status)
	z, _ := zips.Get().(*gzip.Writer)
	defer zips.Put(z)
	z.Reset(w)
	_, _ = z.Write(raw) // the client went away, if at all
	_ = z.Close()
	return nil
}

const worthZip = 2 << 10

var zips = sync.Pool{New: func() any {
	z, _ := gzip.NewWriterLevel(io.Discard, gzip.BestSpeed) // the level is right
	return z
}}

func takesZip(r *http.Request) bool {
	for coding := range strings.SplitSeq(r.Header.Get("Accept-Encoding"), ",") {
		name, weight, _ := strings.Cut(strings.TrimSpace(coding), ";")
		if strings.EqualFold(name, "gzip") && strings.ReplaceAll(weight, " ", "") != "q=0" {
			return true
		}
	}
	return false
}

// known reports whether an If-None-Match header names a tag.
func known(header, tag string) bool {
	for one := range strings.SplitSeq(header, ",") {
		one = strings.TrimPrefix(strings.TrimSpace(one), "W/")
		if one == "*" || one != "" && one == tag {
			return true
		}
	}
	return false
}

// contentTag stands for the bytes of an answer.
func contentTag(raw []byte) string {
	h := fnv.New64a()
	_, _ = h.Write(raw) // it cannot fail
	return strconv.FormatUint(h.Sum64(), 36)
}

func (a *api) encode(r *http.Request, v any) ([]byte, error) {
	raw, err := json.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("encode answer: %w", err)
	}
	others, err := a.elsewhere(r)
	if err != nil {
		return nil, err
	}
	return others.hide(oprc.Secrets{Patterns: a.Mask}.Hide(raw))
}

// holdsMask reports whether a document carries the mask where a secret belongs: it
// was read here, and would replace the secret by the mask.
func holdsMask(doc any, patterns []string) bool {
	raw, err := json.Marshal(doc)
	return err == nil && oprc.Secrets{Patterns: patterns}.Holds(raw)
}
