package process

import (
	"maps"
	"slices"

	"github.com/oaas-platform/oprc/crm"
	"github.com/oaas-platform/oprc/internal/oprc"
)

// firstSecret names an environment variable of a function that refers to a secret.
func firstSecret(u crm.Unit, f crm.Function) (name string, is bool) {
	p := u.Provision[f.Key]
	for _, env := range []oprc.Env{knativeEnv(p), dockerEnv(p), deploymentEnv(p), f.Config.Env} {
		for _, name := range slices.Sorted(maps.Keys(env)) {
			if env[name].IsSecret() {
				return name, true
			}
		}
	}
	return "", false
}

// The environment variables of a function's engine; at most one of these is set.

func knativeEnv(p oprc.Provision) oprc.Env {
	if p.Knative == nil {
		return nil
	}
	return p.Knative.Env
}

func dockerEnv(p oprc.Provision) oprc.Env {
	if p.Docker == nil {
		return nil
	}
	return p.Docker.Env
}

func deploymentEnv(p oprc.Provision) oprc.Env {
	if p.Deployment == nil {
		return nil
	}
	return p.Deployment.Env
}
