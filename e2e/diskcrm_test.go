package e2e_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/oaas-platform/oprc/crm"
	core "github.com/oaas-platform/oprc/internal/oprc"
)

// A diskCRM keeps its world on disk, as a real one does in a cluster: what it has
// made real outlives kill -9. An effect is a file that can be made only once and is
// there whole or not at all, and what runs is what the last effect on each unit says:
// no instant lies between the two. It judges nobody by what the SDK believes.
type diskCRM struct{ dir string }

// runDiskCRM is the main program of a CRM process.
func runDiskCRM() error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	w := diskCRM{os.Getenv("E2E_CRM_DIR")}
	for _, sub := range []string{"effects", "repeated", "events"} {
		if err := os.MkdirAll(filepath.Join(w.dir, sub), 0o700); err != nil {
			return err
		}
	}
	return crm.Run(ctx, crm.Options{
		Redis: os.Getenv("E2E_CRM_REDIS"), Env: os.Getenv("E2E_CRM_ENV"), ID: "disk",
		Logger:  slog.New(slog.NewTextHandler(os.Stderr, nil)),
		OnEvent: func(e crm.Event) { _ = w.note("events", e.Type) },
	}, w)
}

// note leaves a sign that something happened.
func (w diskCRM) note(dir, what string) error {
	f, err := os.CreateTemp(filepath.Join(w.dir, dir), url.PathEscape(what)+" *")
	if err != nil {
		return err
	}
	return f.Close()
}

// effect carries a command out, unless it was the last that was. It refuses nothing:
// whether something came twice or out of order is judged in the end.
func (w diskCRM) effect(c crm.Command) error {
	was, err := w.effects()
	if err != nil {
		return err
	}
	list := was[c.ID]
	if n := len(list); n > 0 && list[n-1].Generation == c.Generation && list[n-1].Type == c.Type && list[n-1].SpecHash == c.SpecHash {
		return w.note("repeated", c.ID)
	}
	data, err := json.Marshal(c)
	if err != nil {
		return err
	}
	f, err := os.CreateTemp(w.dir, "new")
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(f.Name()) }()
	if _, err := f.Write(data); err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	return os.Link(f.Name(), filepath.Join(w.dir, "effects", fmt.Sprintf("%s %06d", url.PathEscape(c.ID), len(list))))
}

func (w diskCRM) Deploy(_ context.Context, c crm.Command, _ crm.Reporter) (crm.State, error) {
	return crm.State{Condition: crm.Running}, w.effect(c)
}

func (w diskCRM) Undeploy(_ context.Context, c crm.Command) error { return w.effect(c) }

// Resume hands over what was running before the process died.
func (w diskCRM) Resume(_ context.Context, adopt func(crm.Command, crm.State) crm.Reporter) error {
	world, err := w.world()
	for _, c := range world {
		adopt(c, crm.State{Condition: crm.Running})
	}
	return err
}

// effects returns what was carried out, by unit, in order.
func (w diskCRM) effects() (map[string][]crm.Command, error) {
	out := map[string][]crm.Command{}
	files, err := filepath.Glob(filepath.Join(w.dir, "effects", "*")) // sorted
	if err != nil {
		return nil, err
	}
	for _, name := range files {
		var c crm.Command
		data, err := os.ReadFile(name)
		if err := errors.Join(err, json.Unmarshal(data, &c)); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		out[c.ID] = append(out[c.ID], c)
	}
	return out, nil
}

// world returns what runs.
func (w diskCRM) world() (map[string]crm.Command, error) {
	effects, err := w.effects()
	out := map[string]crm.Command{}
	for id, list := range effects {
		if last := list[len(list)-1]; last.Type == core.Deploy {
			out[id] = last
		}
	}
	return out, err
}
