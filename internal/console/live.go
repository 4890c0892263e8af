package console

import (
	"bytes"
	"fmt"
	"net/http"
	"net/url"
)

// live says when something happens that the visitor may see; the page then asks for
// itself again. The API's one reader of events serves all pages.
func (s *server) live(v *visit) error {
	v.API.ServeHTTP(&signals{ResponseWriter: v.w}, v.request(http.MethodGet, &url.URL{Path: "/api/watch"}, nil))
	return nil
}

// signals leaves of each event that it happened, and its id.
type signals struct {
	http.ResponseWriter
	rest []byte // of a message that has not ended yet
}

func (s *signals) Unwrap() http.ResponseWriter { return s.ResponseWriter }

func (s *signals) Write(p []byte) (int, error) {
	s.rest = append(s.rest, p...)
	for {
		message, rest, ended := bytes.Cut(s.rest, []byte("\n\n"))
		if !ended {
			return len(p), nil
		}
		s.rest = rest
		if _, err := s.ResponseWriter.Write(signal(message)); err != nil {
			return 0, err
		}
	}
}

// signal is what the page is sent for a message of the watch.
func signal(message []byte) []byte {
	var id []byte
	for line := range bytes.SplitSeq(message, []byte("\n")) {
		switch {
		case bytes.HasPrefix(line, []byte("id: ")):
			id = line
		case bytes.HasPrefix(line, []byte("event: ")):
			if id != nil {
				return fmt.Appendf(nil, "%s\nevent: changed\ndata: 1\n\n", id)
			}
			return []byte("event: changed\ndata: 1\n\n")
		}
	}
	return append(message, "\n\n"...)
}
