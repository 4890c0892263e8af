package rdb_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/oaas-platform/oprc/internal/oprc"
)

func TestCommandQueue(t *testing.T) {
	onEveryRedis(t, func(t *testing.T, url string) {
		db := open(t, url)
		check := func(when string, want oprc.CommandQueue) {
			t.Helper()
			got, err := db.CommandQueue(t.Context(), "edge")
			if err != nil {
				t.Fatalf("%s: %v", when, err)
			}
			if diff := cmp.Diff(got, want, cmpopts.EquateEmpty(), cmpopts.IgnoreFields(oprc.HeldCommand{}, "Idle")); diff != "" {
				t.Errorf("%s (-got +want):\n%s", when, diff)
			}
		}
		check("nothing was sent", oprc.CommandQueue{})
		u, v := unit("shop.record", 0, 0, "edge"), unit("shop.record", 0, 1, "edge")
		dispatch(t, db, "edge", command(u, oprc.Deploy, 1))
		check("no CRM was ever there", oprc.CommandQueue{Waiting: map[string]int64{u.ID: 1}})
		if err := db.Join(t.Context(), "edge"); err != nil {
			t.Fatal(err)
		}
		cmds, err := db.Commands(t.Context(), "edge", "a", 10, time.Millisecond)
		if err != nil || len(cmds) != 1 {
			t.Fatalf("got %v, %v", cmds, err)
		}
		dispatch(t, db, "edge", command(v, oprc.Deploy, 1))
		if err := raw(t, url).XGroupCreate(t.Context(), "oaas.pm.{env:edge}.commands", "mine", "0").Err(); err != nil {
			t.Fatal(err)
		}
		check("one was read", oprc.CommandQueue{
			Waiting: map[string]int64{v.ID: 1}, Held: map[string]oprc.HeldCommand{u.ID: {Generation: 1, CRM: "a"}}, Groups: []string{"mine"},
		})
		if err := db.AckCommands(t.Context(), "edge", cmds[0].StreamID); err != nil {
			t.Fatal(err)
		}
		check("it was acknowledged", oprc.CommandQueue{Waiting: map[string]int64{v.ID: 1}, Groups: []string{"mine"}})
	})
}
