package workload

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// probeTime is how long one answer may take.
const probeTime = time.Second

// Ready asks an instance that listens at base once.
func (p Probe) Ready(ctx context.Context, base string) error {
	at, err := url.Parse(base)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, probeTime)
	defer cancel()
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", at.Host)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	deadline, _ := ctx.Deadline()
	_ = conn.SetDeadline(deadline)
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Now()) })
	defer stop()
	path := p.Path
	if path == "" {
		path = "/"
	}
	if _, err := fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: %s\r\nUser-Agent: oprc-probe\r\nConnection: close\r\n\r\n", path, at.Host); err != nil {
		return err
	}
	head := make([]byte, 64)
	n, err := conn.Read(head)
	switch {
	case n == 0 && err != nil:
		return fmt.Errorf("no answer: %w", err)
	case p.Path == "":
		return nil // whatever it speaks, somebody is there
	}
	return judge(head[:n])
}

// judge reads the status of an HTTP answer.
func judge(head []byte) error {
	fields := bytes.Fields(head)
	if len(fields) < 2 || !bytes.HasPrefix(fields[0], []byte("HTTP/")) {
		return errors.New("the answer is no HTTP")
	}
	code, err := strconv.Atoi(string(fields[1]))
	if err != nil {
		return errors.New("the answer is no HTTP")
	}
	if code >= http.StatusBadRequest {
		return fmt.Errorf("%d %s", code, http.StatusText(code))
	}
	return nil
}
