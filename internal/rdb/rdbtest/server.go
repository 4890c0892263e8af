// Package rdbtest starts real Redis servers for tests: one, one that survives its
// death, a Cluster, or a master with its replica and sentinels. They listen on free loopback
// ports and end with the test, or are shared by the tests of a package.
package rdbtest

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"net"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// startTimeout is generous: other tests keep the machine busy.
const startTimeout = time.Minute

// Server starts a redis-server that keeps nothing on disk and returns its URL.
func Server(t testing.TB, args ...string) string {
	t.Helper()
	return Start(t, "", args...).URL()
}

// A Process is a redis-server that a test may kill, stop and start again.
type Process struct {
	t    testing.TB
	port int
	conf string // configuration file, or ""
	args []string

	mu  sync.Mutex
	cmd *exec.Cmd
	out *bytes.Buffer
}

// Start starts a redis-server with further arguments. With a dir it keeps an
// append-only file there, written before each answer, so that nothing that was
// answered is lost to Kill.
func Start(t testing.TB, dir string, args ...string) *Process {
	t.Helper()
	persistence := []string{"--save", "", "--appendonly", "no", "--dir", t.TempDir()}
	if dir != "" {
		persistence = []string{"--save", "", "--appendonly", "yes", "--appendfsync", "always", "--dir", dir}
	}
	return start(t, "", append(persistence, args...))
}

func start(t testing.TB, conf string, args []string) *Process {
	t.Helper()
	var err error
	for range 5 { // another process may take the port first
		p := &Process{t: t, port: freePort(t), conf: conf, args: args}
		if err = p.run(); err == nil {
			t.Cleanup(p.Kill)
			return p
		}
	}
	t.Fatalf("start redis-server: %v", err)
	return nil
}

// URL is the redis:// URL of the server; it stays the same after Restart.
func (p *Process) URL() string { return "redis://" + p.Addr() }

// Addr is its host:port.
func (p *Process) Addr() string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(p.port)) }

// Kill ends the server as kill -9 does and waits until it is gone.
func (p *Process) Kill() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cmd == nil {
		return
	}
	_ = p.cmd.Process.Kill()
	_ = p.cmd.Wait()
	p.cmd = nil
}

// Pause stops the server without closing its connections: it answers nothing.
func (p *Process) Pause() { p.signal(syscall.SIGSTOP) }

// Resume continues a paused server.
func (p *Process) Resume() { p.signal(syscall.SIGCONT) }

func (p *Process) signal(s syscall.Signal) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cmd != nil {
		_ = p.cmd.Process.Signal(s)
	}
}

// Restart starts the server again, on its old port, after Kill.
func (p *Process) Restart() {
	p.t.Helper()
	p.Kill()
	if err := p.run(); err != nil {
		p.t.Fatalf("restart redis-server: %v", err)
	}
}

// run starts the server and waits until it answers.
func (p *Process) run() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	out := &bytes.Buffer{}
	var args []string
	if p.conf != "" {
		args = append(args, p.conf)
	}
	args = append(args, "--port", strconv.Itoa(p.port), "--bind", "127.0.0.1", "--loglevel", "warning")
	args = append(args, p.args...)
	cmd := exec.Command(binary(p.t, "redis-server"), args...)
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Start(); err != nil {
		return err
	}
	if err := ready(cmd, p.Addr()); err != nil {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		return fmt.Errorf("%w: %s", err, out)
	}
	p.cmd, p.out = cmd, out
	return nil
}

// ready waits until the server at addr answers and is cmd, not a stranger on the
// same port.
func ready(cmd *exec.Cmd, addr string) error {
	deadline := time.Now().Add(startTimeout)
	for time.Now().Before(deadline) {
		if answer, err := ask(addr, "INFO"); err == nil {
			switch {
			case strings.HasPrefix(answer, "-NOAUTH"):
				return nil
			case strings.Contains(answer, "process_id:"+strconv.Itoa(cmd.Process.Pid)+"\r"):
				if !strings.Contains(answer, "loading:1\r") {
					return nil
				}
			case strings.Contains(answer, "process_id:"):
				return errors.New("the port is taken")
			}
		}
		time.Sleep(5 * time.Millisecond)
	}
	return errors.New("it does not answer")
}

// ask sends one inline command and returns its answer, as far as it came.
func ask(addr, command string) (string, error) {
	c, err := net.DialTimeout("tcp", addr, time.Second)
	if err != nil {
		return "", err
	}
	defer func() { _ = c.Close() }()
	_ = c.SetDeadline(time.Now().Add(time.Second))
	if _, err := fmt.Fprintf(c, "%s\r\n", command); err != nil {
		return "", err
	}
	_ = c.(*net.TCPConn).CloseWrite() // the end of the questions; a sentinel knows no QUIT
	var answer strings.Builder
	r := bufio.NewReader(c)
	for {
		line, err := r.ReadString('\n')
		answer.WriteString(line)
		if err != nil {
			return answer.String(), nil
		}
	}
}

// binary finds a program of Redis.
func binary(t testing.TB, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		t.Fatalf("%s is needed and not on PATH; on Debian: apt-get install %s", name, name)
	}
	return path
}

func freePort(t testing.TB) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().(*net.TCPAddr).Port
}
