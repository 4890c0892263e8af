package crm_test

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/redis/go-redis/v9"

	"github.com/oaas-platform/oprc/crm"
	"github.com/oaas-platform/oprc/internal/oprc"
)

func TestCommandsAreCarriedOutAndReported(t *testing.T) {
	t.Parallel()
	everywhere(t, func(t *testing.T, w *world) {
		h := &recorder{}
		w.run(crm.Options{}, h)
		u := unit(0, "a")
		w.deploys(u)

		w.dispatch(command(oprc.Deploy, 2, unit(0, "b")))
		w.saysLast(u.ID, "2 RUNNING crm-1")
		w.dispatch(command(oprc.Undeploy, 3, unit(0, "b")))
		w.saysLast(u.ID, "3 DELETED crm-1")
		w.settles()

		want := []string{"1 DEPLOYING crm-1", "1 RUNNING crm-1", "2 DEPLOYING crm-1", "2 RUNNING crm-1", "3 DELETED crm-1"}
		if diff := cmp.Diff(w.said(u.ID), want); diff != "" {
			t.Errorf("reports (-got +want):\n%s", diff)
		}
		calls := []string{"deploy " + u.ID + " 1", "deploy " + u.ID + " 2", "undeploy " + u.ID + " 3"}
		if diff := cmp.Diff(h.did(), calls); diff != "" {
			t.Errorf("calls (-got +want):\n%s", diff)
		}
	})
}

// served reports a URL for each generation, of which the second waits.
type served struct{ second chan struct{} }

func (s served) Deploy(ctx context.Context, c crm.Command, _ crm.Reporter) (crm.State, error) {
	if c.Generation == 2 {
		select {
		case <-s.second:
		case <-ctx.Done():
			return crm.State{}, ctx.Err()
		}
	}
	return crm.State{Functions: map[string]crm.FunctionStatus{
		"shop.add":  {Condition: crm.Running, InvocationURL: fmt.Sprintf("http://localhost/%d", c.Generation)},
		"shop.lost": {Condition: crm.Down, ErrorMsg: "no image"},
	}}, nil
}

func (served) Undeploy(context.Context, crm.Command) error { return nil }

// While a unit is replaced, the report says where calls can go meanwhile.
func TestCallersKnowWhereToCallWhileAUnitIsReplaced(t *testing.T) {
	t.Parallel()
	everywhere(t, func(t *testing.T, w *world) {
		h := served{make(chan struct{})}
		w.run(crm.Options{}, h)
		u := unit(0, "a")
		w.deploys(u)
		w.dispatch(command(oprc.Deploy, 2, unit(0, "b")))
		w.saysLast(u.ID, "2 DEPLOYING crm-1")
		entries, err := w.c.XRevRangeN(t.Context(), w.stream("reports"), "+", "-", 100).Result()
		if err != nil {
			t.Fatal(err)
		}
		i := slices.IndexFunc(entries, func(e redis.XMessage) bool { return e.Values["condition"] == "DEPLOYING" })
		if got, want := entries[i].Values["functions"], `{"shop.add":{"condition":"RUNNING","invocationUrl":"http://localhost/1"}}`; got != want {
			t.Errorf("got %v, want %s", got, want)
		}
		close(h.second)
		w.saysLast(u.ID, "2 RUNNING crm-1")
	})
}

func TestStartMakesTheWorldLikeTheRecords(t *testing.T) {
	t.Parallel()
	everywhere(t, func(t *testing.T, w *world) {
		h := &recorder{}
		stays, goes := unit(0, "a"), unit(1, "a")
		w.dispatch(command(oprc.Deploy, 1, stays), command(oprc.Deploy, 1, goes))
		w.dispatch(command(oprc.Undeploy, 2, goes))
		// The stream was trimmed while nobody was here.
		if err := w.c.XTrimMaxLen(t.Context(), w.stream("commands"), 0).Err(); err != nil {
			t.Fatal(err)
		}
		w.run(crm.Options{}, h)
		w.saysLast(stays.ID, "1 RUNNING crm-1")
		w.saysLast(goes.ID, "2 DELETED crm-1")
		time.Sleep(50 * time.Millisecond)
		if diff := cmp.Diff(w.said(goes.ID), []string{"2 DELETED crm-1"}); diff != "" {
			t.Errorf("reports (-got +want):\n%s", diff)
		}
	})
}
