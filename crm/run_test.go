package crm_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

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
