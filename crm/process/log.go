package process

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
)

// lines passes on what functions print, whole lines at a time.
type lines struct {
	mu sync.Mutex
	w  io.Writer
}

// A named is one function's way to lines, and to its file.
type named struct {
	to      *lines
	name    string
	file    *logFile // nil: none
	mu      sync.Mutex
	pending []byte
}

// maxLine is where a line without an end is broken.
const maxLine = 8 << 10

func (n *named) Write(p []byte) (int, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.pending = append(n.pending, p...)
	for {
		end := bytes.IndexByte(n.pending, '\n')
		switch {
		case end >= 0 && end <= maxLine:
			n.line(bytes.TrimSuffix(n.pending[:end], []byte("\r")))
			n.pending = n.pending[end+1:]
		case len(n.pending) >= maxLine:
			n.line(n.pending[:maxLine])
			n.pending = n.pending[maxLine:]
		default:
			return len(p), nil
		}
	}
}

// end passes on a last line without an end, and closes the file.
func (n *named) end() {
	n.mu.Lock()
	defer n.mu.Unlock()
	if len(n.pending) > 0 {
		n.line(n.pending)
		n.pending = nil
	}
	n.file.close()
	n.file = nil
}

func (n *named) line(text []byte) {
	n.to.mu.Lock()
	defer n.to.mu.Unlock()
	_, _ = fmt.Fprintf(n.to.w, "%s: %s\n", n.name, text)
	n.file.line(text)
}

// A logFile keeps the last of what a function printed: when it is full it becomes the
// file of the same name with .1, and a new one begins.
type logFile struct {
	name string
	f    *os.File
	size int64
}

const mostLogged = 4 << 20

func openLog(name string) (*logFile, error) {
	if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
		return nil, fmt.Errorf("log: %w", err)
	}
	f, err := os.OpenFile(name, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("log: %w", err)
	}
	size, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("log: %w", err)
	}
	return &logFile{name, f, size}, nil
}

// line is best effort: a full disk does not stop functions.
func (l *logFile) line(text []byte) {
	if l == nil {
		return
	}
	if l.size > mostLogged {
		_ = os.Rename(l.name, l.name+".1")
		if next, err := os.OpenFile(l.name, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600); err == nil {
			_ = l.f.Close()
			l.f, l.size = next, 0
		}
	}
	n, _ := fmt.Fprintf(l.f, "%s\n", text)
	l.size += int64(n)
}

func (l *logFile) close() {
	if l != nil {
		_ = l.f.Close()
	}
}

// A tail passes on what a process prints and remembers the end of it.
type tail struct {
	next io.Writer
	mu   sync.Mutex
	kept []byte
}

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	t.kept = append(t.kept, p...)
	if over := len(t.kept) - 2048; over > 0 {
		t.kept = t.kept[over:]
	}
	t.mu.Unlock()
	return t.next.Write(p)
}

// last returns the last line that says something.
func (t *tail) last() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	text := strings.TrimSpace(strings.ToValidUTF8(string(t.kept), "?"))
	return text[strings.LastIndexByte(text, '\n')+1:]
}
