package gitsource

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"time"

	"github.com/go-git/go-git/v5/plumbing/transport"
	"github.com/go-git/go-git/v5/plumbing/transport/http"
	gitssh "github.com/go-git/go-git/v5/plumbing/transport/ssh"
	"golang.org/x/crypto/ssh"
)

// What a way in may lack on this machine.
var (
	errKnownHosts = errors.New("known hosts")
	errAgent      = errors.New("ssh agent")
	errKeyFile    = errors.New("ssh key")
)

// httpAuth sends a token as the password, which every forge accepts. Without
// either the URL's own user and password count.
func (o Options) httpAuth() (transport.AuthMethod, error) {
	password := cmp.Or(o.Token, o.Password)
	if password == "" {
		return nil, nil
	}
	return &http.BasicAuth{Username: cmp.Or(o.Username, "oauth2"), Password: password}, nil
}

// sshAuth uses the key, or the agent; the server's key must be a known one.
func (o Options) sshAuth(ep *transport.Endpoint) (transport.AuthMethod, error) {
	user := cmp.Or(ep.User, "git")
	for _, file := range o.KnownHosts {
		if _, err := os.Stat(file); err != nil {
			return nil, fmt.Errorf("%w: %w", errKnownHosts, err)
		}
	}
	known, err := gitssh.NewKnownHostsDb(o.KnownHosts...)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errKnownHosts, err)
	}
	host := net.JoinHostPort(ep.Host, strconv.Itoa(cmp.Or(max(ep.Port, 0), gitssh.DefaultPort)))
	trust := gitssh.HostKeyCallbackHelper{
		HostKeyCallback: known.HostKeyCallback(), HostKeyAlgorithms: known.HostKeyAlgorithms(host),
	}
	if o.SSHKeyFile == "" {
		agent, err := gitssh.NewSSHAgentAuth(user)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", errAgent, err)
		}
		agent.HostKeyCallbackHelper = trust
		return sshAuth{agent, o.Timeout}, nil
	}
	key, err := gitssh.NewPublicKeysFromFile(user, o.SSHKeyFile, o.SSHPassphrase)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errKeyFile, err)
	}
	key.HostKeyCallbackHelper = trust
	return sshAuth{key, o.Timeout}, nil
}

// sshAuth adds to a way to log in how long to wait for a connection.
type sshAuth struct {
	gitssh.AuthMethod
	timeout time.Duration
}

// ClientConfig is what go-git connects with.
func (a sshAuth) ClientConfig() (*ssh.ClientConfig, error) {
	c, err := a.AuthMethod.ClientConfig()
	if err != nil {
		return nil, err
	}
	c.Timeout = a.timeout
	return c, nil
}
