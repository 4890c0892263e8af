package loop_test

import (
	"strings"
	"testing"
	"time"

	"github.com/oaas-platform/oprc/internal/oprc"
)

// Who has just come to listen does not take for dead whom nobody could hear.
func TestNothingMovesBecauseNobodyListened(t *testing.T) {
	d := newDaemon(t)
	d.repo.commit("a", "kind: Environment\nname: edge\ndefault: true\n---\nkind: Environment\nname: spare\n", strings.Replace(deployed, ", targetEnvs: [edge]", "", 1))
	beat := func(env string, age time.Duration) {
		t.Helper()
		at := time.Now().Add(-age)
		if err := d.db.Heartbeat(t.Context(), env, []oprc.Heartbeat{{CRM: env, Time: at, Since: at.Add(-time.Hour)}}); err != nil {
			t.Fatal(err)
		}
	}
	beat("edge", 0)
	beat("spare", 0)
	d.start()
	d.tick()
	d.stop()
	d.redis.HDel("oaas_pm:{env:edge}:crms", "edge")
	beat("edge", time.Minute)
	d.start()
	d.tick()
	live, err := d.db.Live(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if h := live.Environments["edge"].Health; h != oprc.EnvDown {
		t.Fatalf("edge is %s, the test wants it DOWN", h)
	}
	if dep := live.Deployments["shop.cart"]; len(dep.Members) != 1 || dep.Members[0].Env != "edge" {
		t.Errorf("it fled: %+v", dep.Members)
	}
}
