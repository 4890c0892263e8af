package main

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/oaas-platform/oprc/crm"
	"github.com/oaas-platform/oprc/crm/docker"
	"github.com/oaas-platform/oprc/crm/kubernetes"
	"github.com/oaas-platform/oprc/crm/workload"
)

// runOptions are those of all drivers, and of each.
type runOptions struct {
	driver  string
	crm     crm.Options
	secrets string
	publish string
	drain   bool
	user    string
	docker  docker.Options
	kube    kubernetes.Options
	taints  []string // that pods bear
	create  bool     // the namespace
	log     *slog.Logger
}

// drivers are what --driver knows.
var drivers = []string{"docker", "kubernetes", "classruntime"}

func newRun() *cobra.Command {
	o := &runOptions{}
	cmd := &cobra.Command{
		Use:   "run --driver NAME --env NAME",
		Short: "Serve one environment",
		Long: `Joins the environment's commands, carries them out by its driver, reports, and
sends heartbeats until it is stopped. Workloads outlive it, and are adopted by its
next run under the same --id.

The Redis URL can be given as OPRC_REDIS_URL, so that no password stands in the list
of processes.

docker runs each function as a container of the engine of DOCKER_HOST, or of --host.

kubernetes runs each function as a Deployment and a Service, or as a Knative Service
where it is written for Knative; in the namespace oprc-ENV, or in --namespace. The
cluster is that of KUBECONFIG, of --kubeconfig, or the one it runs in. Secrets are
those of the namespace. Several CRMs with different ids share an environment. The
rights that it needs are in deploy/kubernetes/crm. What the environment's document
says about pods (kubernetes: pullSecrets, serviceAccount, nodeSelector, tolerations)
wins over the options of these names.

classruntime hands each class to the OaaS operator of the cluster as a ClassRuntime
(oaas.io/v1alpha1), which runs the functions and the object data grid.`,
		Example: `  oprc-crm run --driver kubernetes --env cloud --redis redis://localhost:6379 --create-namespace
  oprc-crm run --driver kubernetes --env cloud --pull-secret registry --node-selector pool=functions --toleration dedicated=functions:NoSchedule
  oprc-crm run --driver docker --env edge --redis redis://localhost:6379 --secrets /etc/oprc/secrets
  oprc-crm run --driver docker --env edge --host unix:///run/podman/podman.sock`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return o.run(cmd.Context()) },
	}
	fs := cmd.Flags()
	fs.StringVar(&o.driver, "driver", "", "what carries units out: docker, kubernetes or classruntime")
	fs.StringVar(&o.crm.Env, "env", "", "`name` of the environment to serve")
	fs.StringVar(&o.crm.ID, "id", "", "`name` of this CRM, unique in the environment and the same after a restart (default: the host's)")
	fs.StringVar(&o.crm.Redis, "redis", "", "Redis `URL` (default: OPRC_REDIS_URL)")
	fs.StringVar(&o.crm.Database, "database", "", "key `prefix` (default: oaas_pm)")
	fs.StringVar(&o.crm.Topic, "topic", "", "stream `prefix` (default: oaas.pm)")
	fs.Float64Var(&o.crm.Availability, "availability", 0, "availability to report, between 0 and 1; 0 reports none")
	fs.StringVar(&o.secrets, "secrets", "", "docker: `directory` with a file NAME/KEY for each key of a secret")
	fs.BoolVar(&o.drain, "drain", false, "docker: stop the workloads when this program is asked to end")
	fs.StringVar(&o.docker.Host, "host", "", "docker: `address` of the container engine")
	fs.StringVar(&o.publish, "publish-address", "127.0.0.1", "docker: IP `address` at which ports are published")
	fs.StringVar(&o.user, "user", "", "`UID[:GID]` of containers (default: 65532:65532); docker uses it for images that name none, and for kubernetes \"image\" means the image's own")
	fs.BoolVar(&o.docker.Writable, "writable", false, "let containers write to their root file system")
	fs.StringSliceVar(&o.docker.Capabilities, "capability", nil, "Linux `capability` that containers keep; repeatable")
	fs.StringVar(&o.docker.Credentials, "credentials", "", "docker: `file` with registry credentials (default: ~/.docker/config.json)")
	fs.DurationVar(&o.docker.Patience.Linger, "linger", 0, "docker: `time` for which a replaced container still answers (default 5s)")
	o.bindKubernetes(cmd)
	_ = cmd.MarkFlagRequired("driver")
	_ = cmd.MarkFlagRequired("env")
	return cmd
}

func (o *runOptions) run(ctx context.Context) error {
	o.log = slog.New(slog.NewTextHandler(os.Stderr, nil))
	o.crm.Logger = o.log
	o.crm.OnEvent = func(e crm.Event) {
		o.log.Info(e.Type, "unit", e.Unit, "generation", e.Generation, "condition", string(e.Condition), "message", e.Message)
	}
	o.crm.Redis = cmp.Or(o.crm.Redis, os.Getenv("OPRC_REDIS_URL"))
	if o.crm.ID == "" {
		host, err := os.Hostname()
		if err != nil {
			return fmt.Errorf("no --id, and the host has no name: %w", err)
		}
		o.crm.ID = host
	}
	switch o.driver {
	case "docker":
		return o.runDocker(ctx)
	case "kubernetes":
		return o.runKubernetes(ctx)
	case "classruntime":
		return o.runClassRuntime(ctx)
	}
	return fmt.Errorf("--driver %s: known are %s", o.driver, strings.Join(drivers, ", "))
}

func (o *runOptions) runDocker(ctx context.Context) error {
	publish, err := netip.ParseAddr(o.publish)
	if err != nil {
		return fmt.Errorf("--publish-address: %w", err)
	}
	o.docker.Publish, o.docker.Env, o.docker.CRM, o.docker.User = publish, o.crm.Env, o.crm.ID, o.user
	o.docker.Secrets, o.docker.Logger = workload.SecretDir(o.secrets), o.log
	d, err := docker.New(ctx, o.docker)
	if err != nil {
		return err
	}
	defer func() { _ = d.Close() }()
	if o.drain {
		return crm.Run(ctx, o.crm, docker.Draining{Driver: d})
	}
	return crm.Run(ctx, o.crm, d)
}
