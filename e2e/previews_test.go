package e2e_test

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/oaas-platform/oprc/internal/gitsource/gittest"
	"github.com/oaas-platform/oprc/internal/rdb/rdbtest"
)

var previews = flag.Int("previews", 4, "how many previews come and go in TestPreviewsLeaveNothing")

// Previews come and go, each an environment and a package by a source of its own. Of each
// the histories of both remain, and nothing else: no key, no goroutine of the daemon, no
// connection that waits.
func TestPreviewsLeaveNothing(t *testing.T) {
	t.Parallel()
	store := rdbtest.Server(t)
	repo := gittest.New(t)
	repo.Write("README.yaml", "name: base\n")
	repo.Commit("first")
	srv := repo.Serve(t)
	// How many idle connections to a Git server are kept follows how many looks met by chance.
	srv.Config.SetKeepAlivesEnabled(false)
	config := fmt.Sprintf("redis: {url: %q}\nsources:\n", store)
	for i := range *previews + 1 {
		config += fmt.Sprintf("  - {name: pr%d, interval: 1s, path: pr%[1]d, url: %q}\n", i, srv.URL)
	}
	d := serve(t, config)
	c := chaosClient(t, store)
	for i := range *previews + 1 {
		d.ready(fmt.Sprintf("pr%d", i), "False RevisionNotFound")
	}
	p := previewing{t, d, c, repo, store}
	p.comeAndGo(0, 1) // what is there once for all
	const few = 2     // that are there for a moment
	before := p.count()
	p.comeAndGo(1, *previews)
	within(t, patience, "nothing is left", func() string {
		now := p.count()
		more := slices.DeleteFunc(now.keys, func(key string) bool { return slices.Contains(before.keys, key) })
		if len(more) > 0 || now.goroutines > before.goroutines+few || now.waiting > before.waiting {
			return fmt.Sprintf("%v more, %+v, before %+v", more, now, before)
		}
		return ""
	})
	for i := range *previews + 1 {
		name := "pr" + strconv.Itoa(i)
		if want := []string{history + "environment/" + name, history + name}; p.c.Exists(t.Context(), want...).Val() != 2 {
			t.Errorf("not both histories are there: %v", want)
		}
	}
	t.Logf("before and after %d previews: %+v", *previews, before)
}

type previewing struct {
	t     *testing.T
	d     *daemonProcess
	c     *redis.Client
	repo  *gittest.Repo
	store string
}

const history = "oaas_pm:{catalog}:history:"

// A remainder is what is left, without histories.
type remainder struct {
	keys                []string
	goroutines, waiting int
}

func (p previewing) keys() []string {
	p.t.Helper()
	var all []string
	for it := p.c.Scan(p.t.Context(), 0, "*", 1000).Iterator(); it.Next(p.t.Context()); {
		all = append(all, it.Val())
	}
	slices.Sort(all)
	return all
}

// count says what is left.
// Readers ask anew from time to time: the most that wait at once are counted.
func (p previewing) count() remainder {
	p.t.Helper()
	waiting := 0
	for range 20 {
		waiting = max(waiting, strings.Count(p.c.ClientList(p.t.Context()).Val(), " flags=b "))
		time.Sleep(20 * time.Millisecond)
	}
	keys := slices.DeleteFunc(p.keys(), func(key string) bool { return strings.HasPrefix(key, history) })
	return remainder{keys, int(p.d.metric("go_goroutines")), waiting}
}

// comeAndGo lets previews come, run, and go.
func (p previewing) comeAndGo(from, n int) {
	p.t.Helper()
	var crms []*exec.Cmd
	for i := from; i < from+n; i++ {
		name := "pr" + strconv.Itoa(i)
		p.repo.Write(name+"/env.yaml", "kind: Environment\nname: "+name+"\n")
		p.repo.Write(name+"/p.yaml", strings.ReplaceAll(strings.ReplaceAll(numbered(i, 1), fmt.Sprintf("p%04d", i), name), "[edge]", "["+name+"]"))
		crm := exec.CommandContext(p.t.Context(), filepath.Join(bin, program), "crm", "run", "--env", name, "--redis", p.store)
		crm.Env = append(os.Environ(), "HOME="+p.t.TempDir())
		if err := crm.Start(); err != nil {
			p.t.Fatal(err)
		}
		crms = append(crms, crm)
	}
	p.repo.Commit("previews come")
	for i := from; i < from+n; i++ {
		p.wantStatus(i, "RUNNING")
	}
	for i := from; i < from+n; i++ {
		p.repo.Git("rm", "-rq", "pr"+strconv.Itoa(i))
	}
	p.repo.Commit("previews go")
	for i := from; i < from+n; i++ {
		p.approve("pr" + strconv.Itoa(i))
		p.wantStatus(i, "DELETED")
	}
	for _, crm := range crms {
		if err := crm.Process.Signal(syscall.SIGINT); err != nil {
			p.t.Fatal(err)
		}
		_ = crm.Wait()
	}
	within(p.t, patience, "the environments are retired", func() string {
		if left := slices.DeleteFunc(p.keys(), func(key string) bool { return !strings.Contains(key, "{env:") }); len(left) > 0 {
			return fmt.Sprint(left)
		}
		return ""
	})
}

func (p previewing) wantStatus(i int, want string) {
	p.t.Helper()
	name := "pr" + strconv.Itoa(i)
	within(p.t, patience, name+" is "+want, func() string {
		all := p.c.HGetAll(p.t.Context(), "oaas_pm:{env:"+name+"}:status").Val()
		if len(all) != 1 || !strings.Contains(fmt.Sprint(all), want) {
			return fmt.Sprint(all)
		}
		return ""
	})
}

// approve lets the deletion of the last package of a source through.
func (p previewing) approve(source string) {
	p.t.Helper()
	id := ""
	within(p.t, patience, source+" holds a plan", func() string {
		id = p.d.source(source).PlanID
		return map[bool]string{true: "none"}[id == ""]
	})
	out, err := exec.CommandContext(p.t.Context(), filepath.Join(bin, program), "source", "approve", id, "--redis", p.store).CombinedOutput()
	// Once it has nothing, the source has no package file: that is how the command ends.
	if exit, is := errors.AsType[*exec.ExitError](err); err != nil && (!is || exit.ExitCode() != 6) {
		p.t.Fatalf("approve: %v\n%s", err, out)
	}
}
