package workload

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/oaas-platform/oprc/crm"
)

// Secrets returns the values of secrets.
type Secrets func(ctx context.Context, ref crm.SecretKeyRef) (string, error)

// mostSecret is how long a secret may be: that of a Kubernetes Secret.
const mostSecret = 1 << 20

// SecretDir finds the key of a secret in the file NAME/KEY below a directory, without
// the newline at its end. No name leads out of the directory. With "" there are no
// secrets.
func SecretDir(dir string) Secrets {
	return func(_ context.Context, ref crm.SecretKeyRef) (string, error) {
		if dir == "" {
			return "", fmt.Errorf("secret %s: this CRM has no directory of secrets (--secrets)", ref.Name)
		}
		for _, part := range []string{ref.Name, ref.Key} {
			if part == "" || part == "." || part == ".." || strings.ContainsAny(part, `/\`) {
				return "", fmt.Errorf("secret %q, key %q: %w", ref.Name, ref.Key, crm.ErrInvalid)
			}
		}
		root, err := os.OpenRoot(dir)
		if err != nil {
			return "", fmt.Errorf("secrets: %w", err)
		}
		defer func() { _ = root.Close() }()
		f, err := root.Open(ref.Name + "/" + ref.Key)
		switch {
		case errors.Is(err, os.ErrNotExist):
			return "", fmt.Errorf("secret %s has no key %s", ref.Name, ref.Key)
		case err != nil:
			return "", fmt.Errorf("secret %s: %w", ref.Name, err)
		}
		defer func() { _ = f.Close() }()
		text, err := io.ReadAll(io.LimitReader(f, mostSecret))
		if err != nil {
			return "", fmt.Errorf("secret %s: %w", ref.Name, err)
		}
		return strings.TrimSuffix(strings.TrimSuffix(string(text), "\n"), "\r"), nil
	}
}

// Environ resolves an environment: NAME=VALUE, sorted.
func Environ(ctx context.Context, env crm.Env, secrets Secrets) ([]string, error) {
	out := make([]string, 0, len(env))
	for name, v := range env {
		text := v.Text
		if v.IsSecret() {
			var err error
			if text, err = secrets(ctx, v.Secret); err != nil {
				return nil, fmt.Errorf("environment variable %s: %w", name, err)
			}
		}
		out = append(out, name+"="+text)
	}
	slices.Sort(out)
	return out, nil
}
