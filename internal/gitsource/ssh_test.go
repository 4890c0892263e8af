package gitsource_test

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"

	"github.com/oaas-platform/oprc/internal/gitsource"
)

// newKey returns a key pair, and the name of a file with the private one.
func newKey(t *testing.T) (ssh.Signer, string) {
	t.Helper()
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	block, err := ssh.MarshalPrivateKey(private, "")
	if err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(name, pem.EncodeToMemory(block), 0o600); err != nil {
		t.Fatal(err)
	}
	signer, err := ssh.NewSignerFromKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return signer, name
}

// serveSSH serves whatever git-upload-pack finds, to those who have the key.
func serveSSH(t *testing.T, host ssh.Signer, allowed ssh.PublicKey) string {
	t.Helper()
	c := &ssh.ServerConfig{PublicKeyCallback: func(_ ssh.ConnMetadata, key ssh.PublicKey) (*ssh.Permissions, error) {
		if string(key.Marshal()) != string(allowed.Marshal()) {
			return nil, errors.New("who are you")
		}
		return nil, nil
	}}
	c.AddHostKey(host)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go session(conn, c)
		}
	}()
	return l.Addr().String()
}

func session(conn net.Conn, c *ssh.ServerConfig) {
	defer conn.Close()
	_, channels, requests, err := ssh.NewServerConn(conn, c)
	if err != nil {
		return
	}
	go ssh.DiscardRequests(requests)
	for wanted := range channels {
		channel, requests, err := wanted.Accept()
		if err != nil {
			return
		}
		for r := range requests {
			if r.Type != "exec" {
				_ = r.Reply(false, nil)
				continue
			}
			_ = r.Reply(true, nil)
			cmd := exec.Command("sh", "-c", string(r.Payload[4:]))
			cmd.Stdout, cmd.Stderr = channel, channel.Stderr()
			stdin, err := cmd.StdinPipe() // Run must not wait for what the client never sends
			if err != nil {
				return
			}
			go func() { _, _ = io.Copy(stdin, channel) }()
			status := []byte{0, 0, 0, 0}
			if cmd.Run() != nil {
				status[3] = 1
			}
			_, _ = channel.SendRequest("exit-status", false, status)
			channel.Close()
			break
		}
	}
}

func TestSSH(t *testing.T) {
	w := newWork(t)
	w.commit("a.yaml", "name: a\n")
	host, _ := newKey(t)
	other, otherFile := newKey(t)
	mine, mineFile := newKey(t)
	addr := serveSSH(t, host, mine.PublicKey())
	known := func(key ssh.PublicKey) string {
		name := filepath.Join(t.TempDir(), "known_hosts")
		if err := os.WriteFile(name, []byte(knownhosts.Line([]string{addr}, key)+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		return name
	}
	empty := filepath.Join(t.TempDir(), "known_hosts")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	o := gitsource.Options{URL: "ssh://git@" + addr + w.dir, SSHKeyFile: mineFile, KnownHosts: []string{known(host.PublicKey())}}
	if got := read(t, open(t, o)); got["a.yaml"] != "name: a\n" {
		t.Errorf("got %v", got)
	}

	tests := map[string]func(*gitsource.Options){
		"unknown host":       func(o *gitsource.Options) { o.KnownHosts = []string{empty} },
		"another host's key": func(o *gitsource.Options) { o.KnownHosts = []string{known(other.PublicKey())} },
		"no known_hosts":     func(o *gitsource.Options) { o.KnownHosts = []string{empty + ".gone"} },
		"unknown key":        func(o *gitsource.Options) { o.SSHKeyFile = otherFile },
		"no key file":        func(o *gitsource.Options) { o.SSHKeyFile = mineFile + ".gone" },
		"no repository":      func(o *gitsource.Options) { o.URL += "/nothing" },
	}
	for name, change := range tests {
		t.Run(name, func(t *testing.T) {
			o := o
			change(&o)
			if _, err := open(t, o).Poll(t.Context(), time.Now()); !errors.Is(err, gitsource.ErrUnavailable) || !strings.Contains(err.Error(), addr) {
				t.Errorf("got %v, want unavailable with %s", err, addr)
			}
		})
	}
}

func TestSSHServerThatNeverAnswers(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, key := newKey(t)
	known := filepath.Join(t.TempDir(), "known_hosts")
	if err := os.WriteFile(known, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	s := open(t, gitsource.Options{
		URL: "ssh://git@" + l.Addr().String() + "/r.git", SSHKeyFile: key, KnownHosts: []string{known}, Timeout: 100 * time.Millisecond,
	})
	begin := time.Now()
	if _, err := s.Poll(t.Context(), time.Now()); !errors.Is(err, gitsource.ErrUnavailable) || !strings.Contains(err.Error(), "no answer in time") {
		t.Errorf("got %v, want unavailable: no answer in time", err)
	}
	if d := time.Since(begin); d > 3*time.Second {
		t.Errorf("it took %s", d)
	}
}
