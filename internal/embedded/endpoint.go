package embedded

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"time"
)

// An endpoint says who owns the state of a directory, and where it answers.
type endpoint struct {
	PID  int    `json:"pid"`
	URL  string `json:"url"`
	Hold bool   `json:"hold,omitempty"` // long-lived: connect instead of waiting
}

// readEndpoint reports false where there is none, or none that can be read.
func readEndpoint(dir string) (endpoint, bool) {
	data, err := os.ReadFile(filepath.Join(dir, endpointFile))
	if err != nil {
		return endpoint{}, false
	}
	var e endpoint
	if err := json.Unmarshal(data, &e); err != nil {
		return endpoint{}, false
	}
	return e, true
}

func writeEndpoint(dir string, e endpoint) error {
	data, err := json.Marshal(e)
	if err != nil {
		return err
	}
	return replace(filepath.Join(dir, endpointFile), data)
}

func removeEndpoint(dir string) error {
	err := os.Remove(filepath.Join(dir, endpointFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// reachable reports whether the Redis at rawURL answers and takes its password. A
// file that outlived its process names a port that is closed, or another's.
func reachable(ctx context.Context, rawURL string) bool {
	return command(ctx, rawURL, time.Second) == nil
}

// command has the Redis at rawURL do one command, or only checks its password.
func command(ctx context.Context, rawURL string, wait time.Duration, words ...string) error {
	u, err := url.Parse(rawURL)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	var d net.Dialer
	nc, err := d.DialContext(ctx, "tcp", u.Host)
	if err != nil {
		return err
	}
	defer nc.Close()
	if deadline, ok := ctx.Deadline(); ok {
		if err := nc.SetDeadline(deadline); err != nil {
			return err
		}
	}
	password, _ := u.User.Password()
	c := newConn(nc)
	if _, err = c.do("AUTH", password); err == nil && len(words) > 0 {
		_, err = c.do(words...)
	}
	return err
}
