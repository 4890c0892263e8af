package e2e_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/oaas-platform/oprc/internal/rdb/rdbtest"
)

// What `oprc apply` asks of Redis does not grow unseen: docs/performance.md shows what it
// was. With $OPRC_BIN another build is counted. On a busy machine the second reading comes
// two seconds after the first, and then compares six slices of records more.
func TestWhatAnApplyAsksOfRedis(t *testing.T) {
	t.Parallel()
	dir, url := t.TempDir(), rdbtest.Server(t)
	c := rdbtest.Client(t, url)
	conn, err := net.Dial("tcp", strings.TrimPrefix(url, "redis://"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	if _, err := io.WriteString(conn, "MONITOR\r\n"); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(conn)
	lines.Buffer(nil, 1<<20)
	if lines.Scan(); lines.Text() != "+OK" {
		t.Fatalf("MONITOR: %q", lines.Text())
	}
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
		for lines.Scan() {
			line := lines.Text()
			switch _, command, _ := strings.Cut(line, "] "); {
			case strings.Contains(command, mark):
				return asked, inScripts
			case strings.Contains(line, " lua]"):
				inScripts++
			case command != "" && !strings.HasPrefix(strings.ToLower(command), `"hello"`) && !strings.HasPrefix(strings.ToLower(command), `"client"`):
				asked++
			}
		}
		t.Fatalf("the monitor ended: %v", lines.Err())
		return 0, 0
	}
	counted("apply", "-f", write(t, dir, "edge.yaml", "kind: Environment\nname: edge\n"))
	for _, tc := range []struct {
		what, image string
		most        int
	}{{"a new package", "i:1", 48}, {"another image", "i:2", 44}, {"the same again", "i:2", 28}} {
		asked, inScripts := counted("apply", "-f", one(tc.image))
		t.Logf("%s: asked %d times, %d more commands inside scripts", tc.what, asked, inScripts)
		if asked > tc.most {
			t.Errorf("%s: Redis was asked %d times, more than %d", tc.what, asked, tc.most)
		}
	}
}
