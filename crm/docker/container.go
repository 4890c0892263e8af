package docker

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/pkg/stdcopy"
	moby "github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/network"
	"github.com/moby/moby/client"

	"github.com/oaas-platform/oprc/crm"
	"github.com/oaas-platform/oprc/crm/workload"
)

// The labels of a container. What a later run needs to adopt it stands in them.
const (
	labelCRM        = "oprc.crm"
	labelEnv        = "oprc.env"
	labelUnit       = "oprc.unit"
	labelFunction   = "oprc.function"
	labelGeneration = "oprc.generation"
	labelSpecHash   = "oprc.specHash"
	labelDigest     = "oprc.digest"
	labelWorkload   = "oprc.workload"
	labelElsewhere  = "oprc.elsewhere"
)

// replicaPrefix begins the names of replicas in reports.
const replicaPrefix = "docker/"

// A container is one of ours.
type container struct {
	id, name  string
	running   bool
	created   int64
	digest    string
	command   crm.Command // without the unit
	w         workload.Workload
	elsewhere map[string]crm.FunctionStatus
}

// containers lists ours that have a label.
func (d *Driver) containers(ctx context.Context, label, value string) ([]container, error) {
	filters := client.Filters{}.Add("label", labelEnv+"="+d.Env, labelCRM+"="+d.CRM, label+"="+value)
	list, err := d.engine.ContainerList(ctx, client.ContainerListOptions{All: true, Filters: filters})
	if err != nil {
		return nil, fmt.Errorf("list containers: %w", err)
	}
	var out []container
	for _, s := range list.Items {
		c := container{id: s.ID, running: s.State == moby.StateRunning, created: s.Created, digest: s.Labels[labelDigest]}
		if len(s.Names) > 0 {
			c.name = strings.TrimPrefix(s.Names[0], "/")
		}
		c.command = crm.Command{Type: crm.OpDeploy, ID: s.Labels[labelUnit], SpecHash: s.Labels[labelSpecHash]}
		c.command.Generation, _ = strconv.ParseInt(s.Labels[labelGeneration], 10, 64)
		if json.Unmarshal([]byte(s.Labels[labelWorkload]), &c.w) != nil {
			c.command.ID = "" // not to be adopted
		}
		_ = json.Unmarshal([]byte(s.Labels[labelElsewhere]), &c.elsewhere)
		out = append(out, c)
	}
	return out, nil
}

// A starter starts a function's container, or finds it running.
type starter struct {
	*Driver
	w         workload.Workload
	command   crm.Command
	elsewhere map[string]crm.FunctionStatus
}

// Start returns the container that runs with the same digest, or a new one.
func (s *starter) Start(ctx context.Context) (workload.Instance, error) {
	found, err := s.containers(ctx, labelUnit, s.w.Unit)
	if err != nil {
		return nil, err
	}
	digest := s.w.Digest()
	for _, f := range found {
		if f.running && f.digest == digest && f.w.Function == s.w.Function {
			if in, err := s.instance(ctx, f.id); err == nil {
				return in, nil
			}
		}
	}
	env, err := workload.Environ(ctx, s.w.Env, s.Secrets)
	if err != nil {
		return nil, err
	}
	image, err := s.image(ctx, s.w)
	if err != nil {
		return nil, err
	}
	config, host, err := s.spec(env, image)
	if err != nil {
		return nil, err
	}
	name := workload.Name(s.w.Unit, s.w.Function) + "-" + strconv.FormatInt(time.Now().UnixMilli(), 36)
	created, err := s.engine.ContainerCreate(ctx, client.ContainerCreateOptions{Config: config, HostConfig: host, Name: name})
	if err != nil {
		return nil, fmt.Errorf("create a container of %s: %w", s.w.Image, err)
	}
	if _, err := s.engine.ContainerStart(ctx, created.ID, client.ContainerStartOptions{}); err != nil {
		return nil, errors.Join(fmt.Errorf("start %s: %w", s.w.Image, err), s.remove(context.WithoutCancel(ctx), created.ID))
	}
	in, err := s.instance(ctx, created.ID)
	if err != nil {
		return nil, errors.Join(err, s.remove(context.WithoutCancel(ctx), created.ID))
	}
	return in, nil
}

// spec is the container: as little as a function needs, where the options do not say
// otherwise.
func (s *starter) spec(env []string, imageUser string) (*moby.Config, *moby.HostConfig, error) {
	text, err := json.Marshal(s.w)
	if err != nil {
		return nil, nil, err
	}
	elsewhere, err := json.Marshal(s.elsewhere)
	if err != nil {
		return nil, nil, err
	}
	port, err := network.ParsePort(strconv.Itoa(s.w.Port) + "/tcp")
	if err != nil {
		return nil, nil, fmt.Errorf("%w: %w", crm.ErrInvalid, err)
	}
	user := ""
	if imageUser == "" {
		user = s.User
	}
	config := &moby.Config{
		Image: s.w.Image, User: user, ExposedPorts: network.PortSet{port: {}},
		Env: append(env, "PORT="+strconv.Itoa(s.w.Port), "HOST=0.0.0.0"),
		Labels: map[string]string{
			labelCRM: s.CRM, labelEnv: s.Driver.Env, labelUnit: s.w.Unit, labelFunction: s.w.Function,
			labelGeneration: strconv.FormatInt(s.command.Generation, 10), labelSpecHash: s.command.SpecHash,
			labelDigest: s.w.Digest(), labelWorkload: string(text), labelElsewhere: string(elsewhere),
		},
	}
	host := &moby.HostConfig{
		PortBindings:   network.PortMap{port: {{HostIP: s.Publish}}},
		ReadonlyRootfs: !s.Writable, CapDrop: []string{"ALL"}, CapAdd: s.Capabilities,
		SecurityOpt: []string{"no-new-privileges"}, Tmpfs: map[string]string{"/tmp": ""},
		Resources: moby.Resources{Memory: s.w.Limits.Bytes(), NanoCPUs: s.w.Limits.NanoCPUs()},
	}
	return config, host, nil
}

func (d *Driver) remove(ctx context.Context, id string) error {
	_, err := d.engine.ContainerRemove(ctx, id, client.ContainerRemoveOptions{Force: true, RemoveVolumes: true})
	if err != nil && !errdefs.IsNotFound(err) {
		return fmt.Errorf("remove a container: %w", err)
	}
	return nil
}

// An instance is a container that was started.
type instance struct {
	d        *Driver
	id, name string
	url      string
}

func (d *Driver) instance(ctx context.Context, id string) (*instance, error) {
	seen, err := d.engine.ContainerInspect(ctx, id, client.ContainerInspectOptions{})
	if err != nil {
		return nil, fmt.Errorf("look at a container: %w", err)
	}
	c := seen.Container
	if c.NetworkSettings != nil {
		for _, bindings := range c.NetworkSettings.Ports {
			for _, b := range bindings {
				return &instance{d, id, strings.TrimPrefix(c.Name, "/"), "http://" + net.JoinHostPort(reachable(b.HostIP), b.HostPort)}, nil
			}
		}
	}
	if c.State != nil && !c.State.Running { // it ended before it could be asked
		return &instance{d, id, strings.TrimPrefix(c.Name, "/"), "http://127.0.0.1:1"}, nil
	}
	return nil, fmt.Errorf("container %s has no published port", c.Name)
}

// reachable is the address of this machine at which a port published at ip is.
func reachable(ip netip.Addr) string {
	if !ip.IsValid() || ip.IsUnspecified() {
		return "127.0.0.1"
	}
	return ip.String()
}

func (i *instance) Name() string { return replicaPrefix + i.name }
func (i *instance) URL() string  { return i.url }

// lookEvery is how often a container is looked at without an event.
const lookEvery = 5 * time.Second

// Wait asks the engine when an event says so, and now and then. An engine that does
// not answer says nothing about the container.
func (i *instance) Wait(ctx context.Context) error {
	poked, forget := i.d.events.listen(i.id)
	defer forget()
	t := time.NewTicker(lookEvery)
	defer t.Stop()
	for {
		seen, err := i.d.engine.ContainerInspect(ctx, i.id, client.ContainerInspectOptions{})
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case errdefs.IsNotFound(err):
			return errors.New("the container was removed")
		case err == nil && seen.Container.State != nil && !seen.Container.State.Running:
			return i.howEnded(ctx, seen.Container.State)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-poked:
		case <-t.C:
		}
	}
}

// howEnded says how a container ended, and what it printed last.
func (i *instance) howEnded(ctx context.Context, st *moby.State) error {
	how := fmt.Sprintf("exited with status %d", st.ExitCode)
	if st.OOMKilled {
		how = "OOMKilled: it used more memory than its limit"
	}
	if st.Error != "" {
		how += ": " + st.Error
	}
	var out bytes.Buffer
	if copyLogs(ctx, i.d.engine, &out, i.id, false, "1") == nil {
		if last := strings.TrimSpace(strings.ToValidUTF8(out.String(), "?")); last != "" {
			how += ": " + last[:min(len(last), 2000)]
		}
	}
	return errors.New(how)
}

// Stop also removes the container.
func (i *instance) Stop(ctx context.Context, grace time.Duration) {
	ctx, cancel := context.WithTimeout(ctx, grace+20*time.Second)
	defer cancel()
	if grace > 0 {
		seconds := max(1, int(grace/time.Second))
		_, _ = i.d.engine.ContainerStop(ctx, i.id, client.ContainerStopOptions{Timeout: &seconds})
	}
	if err := i.d.remove(ctx, i.id); err != nil {
		i.d.Logger.Warn("container", "name", i.name, "error", err)
	}
}

// copyLogs passes on what a container printed.
func copyLogs(ctx context.Context, engine *client.Client, w io.Writer, name string, follow bool, tail string) error {
	logs, err := engine.ContainerLogs(ctx, name, client.ContainerLogsOptions{ShowStdout: true, ShowStderr: true, Follow: follow, Tail: tail})
	if err != nil {
		return fmt.Errorf("logs of %s: %w", name, err)
	}
	defer func() { _ = logs.Close() }()
	if _, err := stdcopy.StdCopy(w, w, logs); err != nil && ctx.Err() == nil {
		return fmt.Errorf("logs of %s: %w", name, err)
	}
	return nil
}
