package docker

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	"github.com/distribution/reference"
	"github.com/moby/moby/api/pkg/authconfig"
	"github.com/moby/moby/api/types/registry"
	"github.com/moby/moby/client"

	"github.com/oaas-platform/oprc/crm"
	"github.com/oaas-platform/oprc/crm/workload"
)

// image makes sure that the image is there, as its policy says, and returns the user
// that it names.
func (d *Driver) image(ctx context.Context, w workload.Workload) (user string, err error) {
	seen, err := d.engine.ImageInspect(ctx, w.Image)
	absent := errdefs.IsNotFound(err)
	switch {
	case err != nil && !absent:
		return "", fmt.Errorf("image %s: %w", w.Image, err)
	case absent && w.PullPolicy == "Never":
		return "", fmt.Errorf("image %s is not on this machine, and pullPolicy is Never", w.Image)
	case absent || w.PullPolicy == "Always":
		if err := d.pull(ctx, w); err != nil {
			return "", err
		}
		if seen, err = d.engine.ImageInspect(ctx, w.Image); err != nil {
			return "", fmt.Errorf("image %s: %w", w.Image, err)
		}
	}
	if seen.Config == nil {
		return "", nil
	}
	return seen.Config.User, nil
}

// pull fetches an image, and logs how it goes.
func (d *Driver) pull(ctx context.Context, w workload.Workload) error {
	named, err := reference.ParseNormalizedNamed(w.Image)
	if err != nil {
		return fmt.Errorf("image %q: %w: %w", w.Image, crm.ErrInvalid, err)
	}
	auth, err := d.credentials(ctx, reference.Domain(named))
	if err != nil {
		return err
	}
	d.Logger.Info("pull", "image", w.Image, "unit", w.Unit)
	stream, err := d.engine.ImagePull(ctx, w.Image, client.ImagePullOptions{RegistryAuth: auth})
	if err != nil {
		return fmt.Errorf("pull %s: %w", w.Image, err)
	}
	last := time.Now()
	for m, err := range stream.JSONMessages(ctx) {
		switch {
		case err != nil:
			return fmt.Errorf("pull %s: %w", w.Image, err)
		case m.Error != nil:
			return fmt.Errorf("pull %s: %w", w.Image, m.Error)
		case m.Progress != nil && m.Progress.Total > 0 && time.Since(last) > 2*time.Second:
			last = time.Now()
			d.Logger.Info("pull", "image", w.Image, "layer", m.ID, "status", m.Status, "percent", 100*m.Progress.Current/m.Progress.Total)
		}
	}
	d.Logger.Info("pulled", "image", w.Image)
	return nil
}

// dockerConfig is what `docker login` and `podman login` write.
type dockerConfig struct {
	Auths       map[string]registry.AuthConfig `json:"auths"`
	CredsStore  string                         `json:"credsStore"`
	CredHelpers map[string]string              `json:"credHelpers"`
}

// credentials are the user's for a registry, as the engine wants them; "" without any.
func (d *Driver) credentials(ctx context.Context, host string) (string, error) {
	file := d.Credentials
	if file == "" {
		home, err := os.UserHomeDir()
		if err != nil {
			return "", nil // nobody has a home here, nor credentials
		}
		file = filepath.Join(home, ".docker", "config.json")
	}
	text, err := os.ReadFile(file)
	if os.IsNotExist(err) && d.Credentials == "" {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("registry credentials: %w", err)
	}
	var config dockerConfig
	if err := json.Unmarshal(text, &config); err != nil {
		return "", fmt.Errorf("registry credentials: %s: %w", file, err)
	}
	keys := []string{host}
	if host == "docker.io" {
		keys = append(keys, "https://index.docker.io/v1/", "index.docker.io")
	}
	for _, key := range keys {
		helper := config.CredsStore
		if h := config.CredHelpers[key]; h != "" {
			helper = h
		}
		a, known := config.Auths[key]
		if helper != "" && (known || config.CredHelpers[key] != "") {
			if a, err = fromHelper(ctx, helper, key); err != nil {
				return "", err
			}
		} else if !known {
			continue
		}
		if plain, err := base64.StdEncoding.DecodeString(a.Auth); err == nil && a.Auth != "" {
			a.Username, a.Password, _ = strings.Cut(strings.TrimRight(string(plain), "\x00"), ":")
			a.Auth = ""
		}
		a.ServerAddress = key
		return authconfig.Encode(a)
	}
	return "", nil
}

// fromHelper asks a program docker-credential-NAME.
func fromHelper(ctx context.Context, helper, key string) (registry.AuthConfig, error) {
	cmd := exec.CommandContext(ctx, "docker-credential-"+helper, "get") //nolint:gosec // the user's own configuration names it
	cmd.Stdin = strings.NewReader(key)
	out, err := cmd.Output()
	if err != nil {
		return registry.AuthConfig{}, fmt.Errorf("registry credentials: docker-credential-%s: %w", helper, err)
	}
	var got struct{ Username, Secret string }
	if err := json.NewDecoder(bytes.NewReader(out)).Decode(&got); err != nil {
		return registry.AuthConfig{}, fmt.Errorf("registry credentials: docker-credential-%s: %w", helper, err)
	}
	if got.Username == "<token>" {
		return registry.AuthConfig{IdentityToken: got.Secret}, nil
	}
	return registry.AuthConfig{Username: got.Username, Password: got.Secret}, nil
}
