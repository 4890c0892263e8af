package kubernetes

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"

	"k8s.io/client-go/rest"
)

// ReplicaPrefix begins the names of replicas in reports: pod/NAMESPACE/NAME.
const ReplicaPrefix = "pod/"

// Logs copies what a replica printed; with follow, what it will.
func (c *Cluster) Logs(ctx context.Context, w io.Writer, replica string, follow bool) error {
	namespace, name, ok := strings.Cut(strings.TrimPrefix(replica, ReplicaPrefix), "/")
	if !ok || strings.Contains(name, "/") {
		return fmt.Errorf("replica %q is not pod/NAMESPACE/NAME", replica)
	}
	client, err := rest.HTTPClientFor(c.config)
	if err != nil {
		return fmt.Errorf("client of Kubernetes: %w", err)
	}
	server, _, err := rest.DefaultServerUrlFor(c.config)
	if err != nil {
		return fmt.Errorf("server of Kubernetes: %w", err)
	}
	at := server.JoinPath("api", "v1", "namespaces", namespace, "pods", name, "log")
	at.RawQuery = url.Values{"follow": {fmt.Sprint(follow)}}.Encode()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, at.String(), http.NoBody)
	if err != nil {
		return err
	}
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(io.LimitReader(resp.Body, mostMessage))
		return fmt.Errorf("logs of %s: %s: %s", name, resp.Status, strings.TrimSpace(string(text)))
	}
	if _, err := io.Copy(w, resp.Body); err != nil && ctx.Err() == nil {
		return fmt.Errorf("logs of %s: %w", name, err)
	}
	return nil
}
