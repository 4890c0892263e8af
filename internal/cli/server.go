package cli

import (
	"net"
	"net/http"
	"time"

	"github.com/oaas-platform/oprc/internal/rest"
)

// openServer reaches the state over REST. Nothing is asked of the server yet.
func (e *env) openServer(url string) *state {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.DialContext = (&net.Dialer{Timeout: 3 * time.Second, KeepAlive: 30 * time.Second}).DialContext
	transport.TLSHandshakeTimeout = 3 * time.Second
	transport.ResponseHeaderTimeout = time.Minute
	token := e.getenv("OPRC_TOKEN")
	if e.tokenless {
		token = ""
	}
	client := &rest.Client{URL: url, Token: token, HTTP: &http.Client{Transport: transport}}
	return &state{control: client, where: "server " + redacted(url)}
}
