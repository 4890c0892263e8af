package e2e_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/oaas-platform/oprc/internal/rdb/rdbtest"
)

// What `oprc apply` asks of Redis does not grow unseen: docs/performance.md shows what it
// was. With $OPRC_BIN another build is counted.
func TestWhatAnApplyAsksOfRedis(t *testing.T) {
	t.Parallel()
	dir, url := t.TempDir(), rdbtest.Server(t)
	c, is := rdbtest.Client(t, url).(*redis.Client)
	if !is {
		t.Fatal("not one Redis")
	}
	lines := make(chan string, 10_000)
	monitor := c.Monitor(t.Context(), lines)
	monitor.Start()
	defer monitor.Stop()
	one := func(image string) string {
		return write(t, dir, "shop.yaml", fmt.Sprintf(`name: shop
functions: [{name: f, provision: {knative: {image: %q}}}]
classes: [{name: C, functions: [{name: f, function: .f}]}]
deployments: [{key: .C, partitionCount: 3, targetEnvs: [edge]}]
`, image))
	}
	// counted runs a command and counts what Redis was asked, by clients and inside scripts.
	counted := func(args ...string) (asked, inScripts int) {
		t.Helper()
		expect(t, 0, dir, append(args, "--redis", url)...)
		mark := fmt.Sprint("counted ", time.Now().UnixNano())
		if err := c.Echo(t.Context(), mark).Err(); err != nil {
			t.Fatal(err)
		}
		for line := range lines {
			switch _, command, _ := strings.Cut(line, "] "); {
			case strings.Contains(command, mark):
				return asked, inScripts
			case strings.Contains(line, " lua]"):
				inScripts++
			case command != "" && !strings.HasPrefix(strings.ToLower(command), `"hello"`) && !strings.HasPrefix(strings.ToLower(command), `"client"`):
				asked++
			}
		}
		t.Fatal("the monitor ended")
		return 0, 0
	}
	counted("apply", "-f", write(t, dir, "edge.yaml", "kind: Environment\nname: edge\n"))
	for _, tc := range []struct {
		what, image string
		most        int
	}{{"a new package", "i:1", 45}, {"another image", "i:2", 45}, {"the same again", "i:2", 25}} {
		asked, inScripts := counted("apply", "-f", one(tc.image))
		t.Logf("%s: asked %d times, %d more commands inside scripts", tc.what, asked, inScripts)
		if asked > tc.most {
			t.Errorf("%s: Redis was asked %d times, more than %d", tc.what, asked, tc.most)
		}
	}
}
