package main

import (
	"context"
	"errors"

	"github.com/spf13/cobra"

	"github.com/oaas-platform/oprc/crm"
	"github.com/oaas-platform/oprc/crm/classruntime"
	"github.com/oaas-platform/oprc/crm/kubernetes"
)

// inCluster is how many units are deployed at once: each waits for the cluster most of
// the time.
const inCluster = 256

func (o *runOptions) bindKubernetes(cmd *cobra.Command) {
	fs := cmd.Flags()
	bindCluster(cmd, &o.kube.ClusterOptions)
	fs.StringVar(&o.kube.Namespace, "namespace", "", "kubernetes, classruntime: `namespace` of all objects (default: oprc-ENV)")
	fs.BoolVar(&o.create, "create-namespace", false, "kubernetes, classruntime: create the namespace where it is missing")
	fs.StringVar(&o.kube.ClusterDomain, "cluster-domain", "cluster.local", "kubernetes: `domain` of the names of services")
	fs.StringSliceVar(&o.kube.PullSecrets, "pull-secret", nil, "kubernetes: `name` of a Secret with registry credentials; repeatable")
	fs.StringVar(&o.kube.ServiceAccount, "service-account", "", "kubernetes: `name` of the pods' service account (default: the namespace's, without its token)")
	fs.StringToStringVar(&o.kube.NodeSelector, "node-selector", nil, "kubernetes: `LABEL=VALUE` that nodes must have; repeatable")
	fs.StringArrayVar(&o.taints, "toleration", nil, "kubernetes: taint `KEY[=VALUE][:EFFECT]` that pods tolerate; repeatable")
	fs.BoolVar(&o.kube.KnativeAsDeployment, "knative-as-deployment", false, "kubernetes: functions that are written for Knative become Deployments")
}

func bindCluster(cmd *cobra.Command, o *kubernetes.ClusterOptions) {
	fs := cmd.Flags()
	fs.StringVar(&o.Kubeconfig, "kubeconfig", "", "kubernetes, classruntime: `file` that says where the cluster is (default: KUBECONFIG, ~/.kube/config, or the cluster it runs in)")
	fs.StringVar(&o.Context, "kube-context", "", "kubernetes, classruntime: `name` of the context in that file (default: the current one)")
}

// errDockerOnly is for options that mean nothing in a cluster.
var errDockerOnly = errors.New("--drain and --secrets are for --driver docker: workloads outlive this CRM, and secrets are those of the namespace")

func (o *runOptions) runClassRuntime(ctx context.Context) error {
	if o.drain || o.secrets != "" {
		return errDockerOnly
	}
	o.kube.Env, o.kube.Logger = o.crm.Env, o.log
	d, err := classruntime.New(ctx, o.kube.ClusterOptions)
	if err != nil {
		return err
	}
	defer d.Close()
	return o.serve(ctx, d, d.Cluster)
}

func (o *runOptions) runKubernetes(ctx context.Context) error {
	if o.drain || o.secrets != "" {
		return errDockerOnly
	}
	for _, text := range o.taints {
		t, err := kubernetes.ParseToleration(text)
		if err != nil {
			return err
		}
		o.kube.Tolerations = append(o.kube.Tolerations, t)
	}
	o.kube.Env, o.kube.Logger, o.kube.User = o.crm.Env, o.log, o.user
	o.kube.Writable, o.kube.Capabilities = o.docker.Writable, o.docker.Capabilities
	d, err := kubernetes.New(ctx, o.kube)
	if err != nil {
		return err
	}
	defer d.Close()
	return o.serve(ctx, d, d.Cluster)
}

func (o *runOptions) serve(ctx context.Context, h crm.Handler, c *kubernetes.Cluster) error {
	if o.create {
		if err := c.EnsureNamespace(ctx); err != nil {
			return err
		}
	}
	o.crm.Concurrency = inCluster
	return crm.Run(ctx, o.crm, h)
}
