package process

import "github.com/oaas-platform/oprc/internal/oprc"

// The environment variables of a function's engine; at most one of these is set.

func knativeEnv(p oprc.Provision) map[string]string {
	if p.Knative == nil {
		return nil
	}
	return p.Knative.Env
}

func dockerEnv(p oprc.Provision) map[string]string {
	if p.Docker == nil {
		return nil
	}
	return p.Docker.Env
}

func deploymentEnv(p oprc.Provision) map[string]string {
	if p.Deployment == nil {
		return nil
	}
	return p.Deployment.Env
}
