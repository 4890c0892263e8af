package cli

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/oaas-platform/oprc/internal/dirsource"
	"github.com/oaas-platform/oprc/internal/gitsource"
	"github.com/oaas-platform/oprc/internal/oprc"
	"github.com/oaas-platform/oprc/internal/rdb"
	"github.com/oaas-platform/oprc/internal/reconcile"
	"github.com/oaas-platform/oprc/internal/view"
)

type doctorOptions struct {
	*env
	config string
	output view.Format

	checks []view.Check
	failed error // the first thing that keeps oprc from working
	idle   bool  // no daemon is running
}

func newDoctor(e *env) *cobra.Command {
	o := &doctorOptions{env: e}
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Check the installation, and show how to mend what is wrong",
		Long: `Checks the state, its Redis, which daemon leads, the environments, the units, the sources
and the dead letters, and prints one line for each, with the next step where there is
one. It changes nothing. Warnings do not change the exit code; errors do.` +
			exits(exitOK, exitError, exitInvalid, exitUnavailable, exitDenied, exitUsage, exitInterrupted),
		Example: `  oprc doctor
  oprc doctor --redis redis://localhost:6379/0 --config oprc.yaml
  oprc doctor -o json | jq '.checks[] | select(.status != "ok")'`,
		Args: args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error { return o.run(cmd.Context()) },
	}
	cmd.Flags().StringVar(&o.config, "config", "", "configuration `file` of the daemon to check as well")
	_ = cmd.MarkFlagFilename("config", "yaml", "yml")
	bindOutput(cmd, &o.output, view.Text, view.JSON, view.YAML)
	return cmd
}

func (o *doctorOptions) run(ctx context.Context) error {
	if o.config != "" {
		c, err := loadConfig(o.config, o.environ, nil)
		if err == nil {
			err = o.refusals(c)
		}
		o.check("configuration", err, fmt.Sprintf("%s is fine, sources in it: %d", o.config, len(c.Sources)))
	}
	o.check("state", o.with(ctx, func(s *state) error { return o.examine(ctx, s) }), "")
	if err := o.env.output(o.output).Doctor(o.checks); err != nil || o.failed == nil {
		return err
	}
	return shown{o.failed}
}

// refusals is all for which serve would not start with a configuration that can be read,
// and directories without a package, which serve would wait for.
func (o *doctorOptions) refusals(c Config) error {
	sources, ofSources := o.env.sources(&gitsource.Hub{}, "git-plan", c.Sources)
	for _, sc := range sources {
		if dir, is := sc.Source.(*dirFiles); is {
			if _, err := dirsource.Read(dir.paths, strings.NewReader("")); err != nil {
				ofSources = errors.Join(ofSources, fmt.Errorf("source %s: %w", sc.Name, err))
			}
		}
	}
	_, ofNotify := o.notifier(c, slog.New(slog.DiscardHandler))
	_, ofPolicies := policies(filepath.Dir(o.config), c.Policies)
	_, ofAddress := c.address(false)
	_, ofTLS := c.Security.TLS.secure(o.now, slog.New(slog.DiscardHandler))
	if ofTLS != nil {
		ofTLS = fmt.Errorf("configuration: security.tls: %w", ofTLS)
	}
	files, ofEnvironments := c.EnvironmentFiles()
	if _, found := offline(files, false, ""); ofEnvironments == nil {
		ofEnvironments = found.Err()
	}
	return errors.Join(ofSources, ofNotify, ofPolicies, ofAddress, ofTLS, ofEnvironments)
}

// examine asks a state that could be opened.
func (o *doctorOptions) examine(ctx context.Context, s *state) error {
	environments, err := s.List(ctx, oprc.KindEnv)
	if err != nil {
		return err
	}
	o.check("state", nil, s.where)
	if s.db != nil {
		if err := o.redisServer(ctx, s); err != nil {
			return err
		}
	}
	o.environments(environments)
	for _, look := range []func(context.Context, *state) error{o.units, o.sources} {
		if err := look(ctx, s); err != nil {
			return err
		}
	}
	if s.db == nil {
		return nil
	}
	return errors.Join(o.records(ctx, s), o.deadLetters(ctx, s))
}

// check adds what was found: an error is what keeps oprc from working.
func (o *doctorOptions) check(name string, err error, good string) {
	switch {
	case err != nil:
		if o.failed == nil {
			o.failed = err
		}
		o.checks = append(o.checks, view.Check{Name: name, Status: view.CheckError, Message: err.Error(), Next: nextStep(err)})
	case good != "":
		o.checks = append(o.checks, view.Check{Name: name, Status: view.CheckOK, Message: good})
	}
}

func (o *doctorOptions) warn(name, message, next string) {
	o.checks = append(o.checks, warning(name, message, next))
}

func warning(name, message, next string) view.Check {
	return view.Check{Name: name, Status: view.CheckWarning, Message: message, Next: next}
}

// each adds what is wrong with objects of a kind, the first few of them; good is
// what to say if nothing is.
func (o *doctorOptions) each(kind oprc.Kind, wrong []view.Check, good string) {
	if len(wrong) == 0 {
		o.check(string(kind)+"s", nil, good)
		return
	}
	const shown = 5
	o.checks = append(o.checks, wrong[:min(len(wrong), shown)]...)
	if more := len(wrong) - shown; more > 0 {
		o.warn(string(kind)+"s", fmt.Sprintf("and %d more", more), "oprc get "+string(kind)+"s")
	}
}

// slowRedis is the time of an answer from which on every command feels it.
const slowRedis = 50 * time.Millisecond

func (o *doctorOptions) redisServer(ctx context.Context, s *state) error {
	if s.embedded != nil {
		o.warn("redis", "the embedded one, which is for development: it can lose the last second", "for anything that must last, name a Redis of your own with --redis or OPRC_REDIS_URL")
		return nil
	}
	if err := s.db.Writable(ctx); rdb.TakesNoWrites(err) {
		o.check("redis", err, "")
	}
	r, err := s.db.Server(ctx)
	switch {
	case errors.Is(err, rdb.ErrDenied):
		o.warn("redis", "this user may not ask it how it is set up", "allow its user +info, or look yourself: appendonly yes, maxmemory-policy noeviction")
		return nil
	case errors.Is(err, rdb.ErrUnavailable): // one of a Cluster's masters
		o.check("redis", err, "")
		return nil
	case err != nil:
		return err
	}
	answers := fmt.Sprintf("version %s answers in %s", r.Version, r.Took.Round(10*time.Microsecond))
	it := "it"
	if r.Masters > 1 {
		answers += fmt.Sprintf(", each of %d masters", r.Masters)
		it = "one of its masters"
	}
	if r.Took > slowRedis {
		o.warn("redis", answers+", which is slow", "check its load, and the network to it")
	} else {
		o.check("redis", nil, answers)
	}
	if !r.Durable {
		o.warn("redis", it+" keeps no append-only file: a crash loses what was done since the last snapshot", "set appendonly yes")
	}
	if r.Evicts != "" {
		o.warn("redis", it+" drops keys when memory runs out: "+r.Evicts, "set maxmemory-policy noeviction")
	}
	if o.idle = r.Leader == ""; o.idle {
		o.warn("daemon", "no daemon is running: reports are not processed and drift is not corrected", "oprc serve --config oprc.yaml")
	} else {
		o.check("daemon", nil, r.Leader+" leads")
	}
	return o.daemons(ctx, s, r.Leader)
}

// daemons looks whether all daemons have the same configuration.
func (o *doctorOptions) daemons(ctx context.Context, s *state, leader string) error {
	all, err := s.db.Daemons(ctx)
	if err != nil {
		return err
	}
	configs, words := map[string]bool{}, []string{}
	for _, holder := range slices.Sorted(maps.Keys(all)) {
		configs[all[holder].Config] = true
		word := holder + " has " + all[holder].Config
		if holder == leader {
			word += " and leads"
		}
		words = append(words, word)
	}
	if len(configs) > 1 {
		o.warn("configuration", "the daemons differ in it: "+strings.Join(words, "; ")+". Nothing is deleted that only one of them declares",
			"start all of them with the same oprc.yaml and the same OAAS_PM_ variables")
	}
	return nil
}

// records compares every record with its digest.
func (o *doctorOptions) records(ctx context.Context, s *state) error {
	damaged, err := s.db.Damage(ctx)
	if err != nil {
		return err
	}
	for _, object := range damaged {
		next := "a daemon writes it again within a tick; without one, apply it again"
		if name, is := strings.CutPrefix(object, string(oprc.KindEnv)+"/"); is {
			next = "oprc env create " + name + ", or apply the file that declares it"
		}
		o.warn("records", object+": the record and its digest disagree, or one is lost", next)
	}
	altered, err := s.db.IndexAltered(ctx)
	if err != nil {
		return err
	}
	if altered != "" {
		o.warn("records", altered+" does not say what the records do: a plan of a few packages may miss who depends on them",
			"a daemon makes it anew within a minute; without one, delete the key")
	}
	misplaced, aside, err := s.db.Strange(ctx)
	if err != nil {
		return err
	}
	for _, key := range misplaced {
		o.warn("records", key+" holds a value of another type", "a daemon sets it aside within a tick; without one, delete the key")
	}
	for _, key := range aside {
		o.warn("records", key+" was set aside: under the name without \"damaged\" it was of another type", "look at it, and delete it")
	}
	if len(damaged)+len(misplaced)+len(aside) == 0 && altered == "" {
		o.check("records", nil, "all are what their digests say")
	}
	return nil
}

func (o *doctorOptions) environments(list []reconcile.Object) {
	if len(list) == 0 {
		o.warn("environments", "there are none", "oprc env create NAME --default")
		return
	}
	var wrong []view.Check
	unreadable := 0
	for _, obj := range list {
		e := obj.Doc.(*reconcile.EnvironmentView)
		if e.Unreadable != "" {
			unreadable++
			o.check("environment "+e.Name, stepError{errors.New(e.Unreadable), "A daemon sets a damaged key aside within a tick; without one, delete the key. A node that is away comes back, or gets a replica. Nothing is changed in this environment meanwhile."}, "")
			continue
		}
		switch e.Health {
		case oprc.Degraded:
			wrong = append(wrong, warning("environment "+e.Name, "some of its CRMs are silent", "oprc get crms"))
		case oprc.EnvDown:
			wrong = append(wrong, warning("environment "+e.Name, "all of its CRMs are silent", "oprc why "+e.Name))
		case oprc.HealthUnknown:
			wrong = append(wrong, o.unheard(e.Name))
		}
	}
	if healthy := len(list) - unreadable; healthy > 0 {
		o.each(oprc.KindEnv, wrong, fmt.Sprintf("%d healthy", healthy))
	}
}

func (o *doctorOptions) units(ctx context.Context, s *state) error {
	list, err := s.List(ctx, oprc.KindDeployment)
	if err != nil {
		return err
	}
	var wrong []view.Check
	for _, obj := range list {
		d := obj.Doc.(*reconcile.DeploymentView)
		if d.Condition == oprc.Running && !d.Drift {
			continue
		}
		message := fmt.Sprintf("%s, %d of %d units run", d.Condition, d.Running, d.Units)
		if d.Drift {
			message += ", some run a different spec than requested"
		}
		wrong = append(wrong, warning("deployment "+d.Key, message, "oprc why "+d.Key))
	}
	o.each(oprc.KindDeployment, wrong, fmt.Sprintf("%d, all units run", len(list)))
	return nil
}

func (o *doctorOptions) sources(ctx context.Context, s *state) error {
	list, err := s.List(ctx, oprc.KindSource)
	if err != nil {
		return err
	}
	var wrong []view.Check
	for _, obj := range list {
		src := obj.Doc.(*oprc.SourceStatus)
		bad := ""
		for _, c := range src.Conditions {
			if c.Type == "Ready" && !c.Status {
				bad = c.Reason + ": " + c.Message
			}
		}
		switch {
		case src.Suspended != nil:
			wrong = append(wrong, warning("source "+src.Name, "suspended: "+src.Suspended.Reason, "oprc source resume "+src.Name))
		case bad != "":
			wrong = append(wrong, warning("source "+src.Name, bad, "oprc why "+src.Name))
		}
	}
	o.each(oprc.KindSource, wrong, fmt.Sprintf("%d ready", len(list)))
	return o.left(ctx, s, list)
}

// unheard is the warning of an environment of whose CRMs nothing is known.
func (o *doctorOptions) unheard(env string) view.Check {
	if o.idle {
		return warning("environment "+env, "nobody has read what its CRMs report: no daemon is running", "oprc serve --config oprc.yaml")
	}
	return warning("environment "+env, "no CRM has ever reported from it", "oprc crm run --env "+env)
}

// left names the packages of sources that no daemon follows any more.
func (o *doctorOptions) left(ctx context.Context, s *state, sources []reconcile.Object) error {
	list, err := s.List(ctx, oprc.KindPackage)
	if err != nil {
		return err
	}
	followed := map[string]bool{devSource: true} // what an ended dev left is known to be anybody's
	for _, obj := range sources {
		followed[obj.Key] = true
	}
	of := map[string][]string{}
	for _, obj := range list {
		p := obj.Doc.(*reconcile.PackageView)
		if name, is := strings.CutPrefix(p.Origin, "git:"); is && !followed[name] {
			of[name] = append(of[name], p.Name)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(of)) {
		n := len(of[name])
		o.warn("source "+name, fmt.Sprintf("no daemon follows it any more; packages that it left, which stay as they are: %d, the first is %s", n, of[name][0]),
			"oprc delete package "+of[name][0]+", or let another source have it in its files")
	}
	return nil
}

func (o *doctorOptions) deadLetters(ctx context.Context, s *state) error {
	names, err := s.db.EnvironmentNames(ctx)
	if err != nil {
		return err
	}
	total := 0
	for _, name := range names {
		letters, err := s.db.Dead(ctx, name, deadLimit)
		if err != nil { // of this environment; others may be readable
			o.check("dead letters", fmt.Errorf("environment %s: %w", name, err), "")
			total++
			continue
		}
		total += len(letters)
		if n := len(letters); n > 0 {
			count := fmt.Sprint(n)
			if n == deadLimit {
				count += " or more"
			}
			o.warn("dead letters", fmt.Sprintf("%s in %s, the last one: %s", count, name, letters[0].Reason), "oprc dead list "+name)
		}
	}
	if total == 0 {
		o.check("dead letters", nil, "none")
	}
	return nil
}
