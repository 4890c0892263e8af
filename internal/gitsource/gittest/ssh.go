package gittest

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"
)

// Key returns a key pair, and the name of a file with the private one.
func Key(t testing.TB) (ssh.Signer, string) {
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

// An SSHServer serves what git-upload-pack finds on this machine.
type SSHServer struct {
	Addr string // host:port

	t     testing.TB
	host  ssh.Signer
	mu    sync.Mutex
	count Count
}

// ServeSSH serves those who have the key.
func ServeSSH(t testing.TB, allowed ssh.PublicKey) *SSHServer {
	t.Helper()
	s := &SSHServer{t: t}
	s.host, _ = Key(t)
	c := &ssh.ServerConfig{PublicKeyCallback: func(_ ssh.ConnMetadata, key ssh.PublicKey) (*ssh.Permissions, error) {
		if !bytes.Equal(key.Marshal(), allowed.Marshal()) {
			return nil, errors.New("who are you")
		}
		return nil, nil
	}}
	c.AddHostKey(s.host)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	s.Addr = l.Addr().String()
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go s.serve(conn, c)
		}
	}()
	return s
}

// URL is where the server has the repository.
func (s *SSHServer) URL(r *Repo) string { return "ssh://git@" + s.Addr + r.Dir }

// KnownHosts returns the name of a known_hosts file with the key of this server.
func (s *SSHServer) KnownHosts() string { return s.KnownAs(s.host.PublicKey()) }

// KnownAs returns the name of a known_hosts file with another key for this server.
func (s *SSHServer) KnownAs(key ssh.PublicKey) string {
	s.t.Helper()
	name := filepath.Join(s.t.TempDir(), "known_hosts")
	if err := os.WriteFile(name, []byte(knownhosts.Line([]string{s.Addr}, key)+"\n"), 0o600); err != nil {
		s.t.Fatal(err)
	}
	return name
}

// Since returns what the server was asked since the last call.
func (s *SSHServer) Since() Count {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.count
	s.count = Count{}
	return c
}

func (s *SSHServer) serve(conn net.Conn, c *ssh.ServerConfig) {
	defer func() { _ = conn.Close() }()
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
		s.session(channel, requests)
	}
}

// session runs the one command of a channel.
func (s *SSHServer) session(channel ssh.Channel, requests <-chan *ssh.Request) {
	defer func() { _ = channel.Close() }()
	for r := range requests {
		_ = r.Reply(r.Type == "exec", nil)
		if r.Type != "exec" {
			continue
		}
		cmd := exec.Command("sh", "-c", string(r.Payload[4:]))
		cmd.Stdout, cmd.Stderr = channel, channel.Stderr()
		stdin, err := cmd.StdinPipe() // Run must not wait for what the client never sends
		if err != nil {
			return
		}
		go func() {
			_, _ = io.Copy(stdin, io.TeeReader(channel, s.listing()))
			_ = stdin.Close()
		}()
		status := []byte{0, 0, 0, 0}
		if cmd.Run() != nil {
			status[3] = 1
		}
		_, _ = channel.SendRequest("exit-status", false, status)
		return
	}
}

// listing counts a session that may still become a fetch: by what the client says.
func (s *SSHServer) listing() io.Writer {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.count.Lists++
	return &client{s: s}
}

type client struct {
	s     *SSHServer
	heard int
}

func (c *client) Write(p []byte) (int, error) {
	const goodbye = len("0000") // a flush packet: the client wants nothing
	if c.heard <= goodbye && c.heard+len(p) > goodbye {
		c.s.mu.Lock()
		c.s.count.Fetches++
		c.s.mu.Unlock()
	}
	c.heard += len(p)
	return len(p), nil
}
