package rest

import (
	"bytes"
	"encoding/json"
	"net/http"
	"time"

	"github.com/oaas-platform/oprc/internal/oprc"
)

// keptAnswer is how long a repeated write gets the answer of the first.
const keptAnswer = 24 * time.Hour

// A savedAnswer is what a write was answered with. Status 0: it is under way.
type savedAnswer struct {
	Request string            `json:"request"` // digest of method, path and body
	Status  int               `json:"status"`
	Header  map[string]string `json:"header,omitempty"`
	Body    []byte            `json:"body,omitempty"`
}

// once makes a write that carries an Idempotency-Key happen once: whoever repeats it
// within a day gets the first answer. An answer that says that nothing was done for
// reasons that pass is not kept.
func (a *api) once(next handler) handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		key := r.Header.Get("Idempotency-Key")
		if key == "" {
			return next(w, r)
		}
		if len(key) > 255 {
			return refuse(http.StatusBadRequest, "the Idempotency-Key is longer than 255 bytes")
		}
		body, err := readBody(w, r, a.Bounds.BigBody)
		if err != nil {
			return err
		}
		r.Body, r.ContentLength = readCloser{bytes.NewReader(body)}, int64(len(body))
		name := "once/" + oprc.Digest([]string{caller(r).Name, key})
		mine := savedAnswer{Request: oprc.Digest([]string{r.Method, r.URL.RequestURI(), string(body)})}
		raw, err := json.Marshal(mine)
		if err != nil {
			return err
		}
		was, err := a.Control.KeepNew(r.Context(), name, raw, 2*a.Bounds.Time)
		if err != nil {
			return err
		}
		if was != nil {
			return repeat(w, mine, was)
		}
		kept := &keeping{ResponseWriter: w}
		if err := next(kept, r); err != nil {
			a.fail(kept, r, err)
		}
		return a.keepAnswer(r, name, mine, kept)
	}
}

func (a *api) keepAnswer(r *http.Request, name string, answer savedAnswer, kept *keeping) error {
	length := keptAnswer
	if kept.status >= 500 || kept.status == http.StatusTooManyRequests || kept.status == 0 {
		length = time.Millisecond
	}
	answer.Status, answer.Body, answer.Header = kept.status, kept.body.Bytes(), map[string]string{}
	for _, h := range []string{"Content-Type", "Content-Encoding", "ETag", "Location"} {
		if v := kept.Header().Get(h); v != "" {
			answer.Header[h] = v
		}
	}
	raw, err := json.Marshal(answer)
	if err == nil {
		err = a.Control.Keep(r.Context(), name, raw, length)
	}
	if err != nil {
		a.Log.Warn("keep the answer of a write", "error", err) // the client has it
	}
	return nil
}

func repeat(w http.ResponseWriter, mine savedAnswer, was []byte) error {
	var first savedAnswer
	if err := json.Unmarshal(was, &first); err != nil {
		return err
	}
	switch {
	case first.Request != mine.Request:
		return refuse(http.StatusConflict, "the Idempotency-Key was used for another request")
	case first.Status == 0:
		return refuse(http.StatusConflict, "the first request with this Idempotency-Key is under way")
	}
	for name, value := range first.Header {
		w.Header().Set(name, value)
	}
	w.Header().Set("Idempotent-Replay", "true")
	w.WriteHeader(first.Status)
	_, _ = w.Write(first.Body) // the client went away, if at all
	return nil
}

type readCloser struct{ *bytes.Reader }

func (readCloser) Close() error { return nil }

// keeping keeps a copy of what is written.
type keeping struct {
	http.ResponseWriter
	status int
	body   bytes.Buffer
}

func (k *keeping) Unwrap() http.ResponseWriter { return k.ResponseWriter }

func (k *keeping) WriteHeader(status int) {
	k.status = status
	k.ResponseWriter.WriteHeader(status)
}

func (k *keeping) Write(p []byte) (int, error) {
	_, _ = k.body.Write(p) // it cannot fail
	return k.ResponseWriter.Write(p)
}
