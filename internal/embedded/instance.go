package embedded

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/alicebob/miniredis/v2/server"
	"github.com/gofrs/flock"
)

const (
	lockFile     = "embedded.lock"
	endpointFile = "embedded.json"
	snapshotFile = "embedded.snapshot"

	saveInterval = time.Second
	saveTimeout  = time.Minute
	retry        = 20 * time.Millisecond
)

// An Instance is an open embedded state: owned by this process, or shared by the
// process that holds it.
type Instance struct {
	dir    string
	url    string
	shared bool

	// Of the owner only.
	lock     *flock.Flock
	server   *miniredis.Miniredis
	password string
	readOnly bool        // the directory cannot be written: there is no lock, and nothing is saved
	closing  atomic.Bool // nobody may wait for mu any more

	mu      sync.Mutex // guards what follows, and saving
	saved   string     // digest of the last snapshot written or loaded
	seen    int        // commands served up to the last look, its own included
	changed bool       // the last look saw commands that may not have finished
	closed  bool
}

// Open opens the state in dir, which is created if need be. While another process
// owns it, Open waits for up to wait, unless that process is long-lived: then it
// returns an instance that shares the owner's Redis. Who may read the directory and not
// write it gets what was saved last, and can save nothing.
func Open(ctx context.Context, dir string, wait time.Duration) (*Instance, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("open embedded state: %w", err)
	}
	if !writable(dir) {
		return read(ctx, dir)
	}
	lock := flock.New(filepath.Join(dir, lockFile), flock.SetPermissions(0o600))
	patience, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	for {
		switch mine, err := lock.TryLock(); {
		case err != nil:
			return nil, fmt.Errorf("lock embedded state %s: %w", dir, err)
		case mine:
			return own(dir, lock)
		}
		holder, known := readEndpoint(dir)
		if known && holder.Hold && reachable(ctx, holder.URL) {
			return &Instance{dir: dir, url: holder.URL, shared: true}, nil
		}
		select {
		case <-patience.Done():
			if ctx.Err() != nil {
				return nil, ctx.Err()
			}
			return nil, busyError(dir, holder, known, wait)
		case <-time.After(retry):
		}
	}
}

// writable reports whether files can be made in dir.
func writable(dir string) bool {
	f, err := os.CreateTemp(dir, ".probe-*")
	if err != nil {
		return false
	}
	return errors.Join(f.Close(), os.Remove(f.Name())) == nil
}

// read opens the state of a directory that cannot be written.
func read(ctx context.Context, dir string) (*Instance, error) {
	if holder, known := readEndpoint(dir); known && holder.Hold && reachable(ctx, holder.URL) {
		return &Instance{dir: dir, url: holder.URL, shared: true}, nil
	}
	i := &Instance{dir: dir, readOnly: true, server: miniredis.NewMiniRedis(), password: rand.Text()}
	if err := i.serve(); err != nil {
		i.server.Close()
		return nil, err
	}
	return i, nil
}

func busyError(dir string, holder endpoint, known bool, wait time.Duration) error {
	who := "another oprc process"
	if known {
		who = fmt.Sprintf("process %d", holder.PID)
	}
	return fmt.Errorf("embedded state %s is in use by %s (waited %s): try again when it has finished", dir, who, wait)
}

// own starts the Redis of a directory whose lock this process has, and releases
// the lock when it cannot.
func own(dir string, lock *flock.Flock) (_ *Instance, err error) {
	i := &Instance{dir: dir, lock: lock, server: miniredis.NewMiniRedis(), password: rand.Text()}
	defer func() {
		if err != nil {
			i.server.Close()
			err = errors.Join(err, lock.Unlock())
		}
	}()
	// What a killed owner left must not be taken for ours.
	if err := removeEndpoint(dir); err != nil {
		return nil, fmt.Errorf("open embedded state: %w", err)
	}
	if err := i.serve(); err != nil {
		return nil, err
	}
	if err := writeEndpoint(dir, endpoint{PID: os.Getpid(), URL: i.url}); err != nil {
		return nil, fmt.Errorf("open embedded state: %w", err)
	}
	return i, nil
}

// serve starts the Redis with what was saved last.
func (i *Instance) serve() error {
	entries, digest, err := readSnapshot(filepath.Join(i.dir, snapshotFile))
	if err != nil {
		return err
	}
	i.server.RequireAuth(i.password)
	if err := i.server.StartAddr("127.0.0.1:0"); err != nil {
		return fmt.Errorf("start embedded Redis: %w", err)
	}
	if err := restore(i.server, i.password, entries); err != nil {
		return fmt.Errorf("restore embedded state: %w", err)
	}
	if err := i.server.Server().Register("SAVE", i.saveCommand); err != nil {
		return fmt.Errorf("start embedded Redis: %w", err)
	}
	i.saved, i.seen = digest, i.server.CommandCount()
	i.url = fmt.Sprintf("redis://:%s@%s/0", i.password, i.server.Addr())
	return nil
}

// saveCommand is SAVE, by which other processes have the owner save.
func (i *Instance) saveCommand(c *server.Peer, _ string, _ []string) {
	if err := i.saveNow(); err != nil {
		c.WriteError("ERR " + err.Error())
		return
	}
	c.WriteOK()
}

// Save returns once everything that was written until now is on disk, in this process
// or the one that owns the state.
func (i *Instance) Save(ctx context.Context) error {
	if i.shared {
		if err := command(ctx, i.url, saveTimeout, "SAVE"); err != nil {
			return fmt.Errorf("save embedded state: %w", err)
		}
		return nil
	}
	return i.saveNow()
}

// saveNow saves, unless the instance is being closed: then that does.
func (i *Instance) saveNow() error {
	for !i.mu.TryLock() {
		if i.closing.Load() {
			return nil
		}
		time.Sleep(time.Millisecond)
	}
	defer i.mu.Unlock()
	if i.closed {
		return nil
	}
	_, err := i.save()
	return err
}

// ReadOnly reports whether nothing can be saved.
func (i *Instance) ReadOnly() bool { return i.readOnly }

// URL is where Redis clients connect, password included.
func (i *Instance) URL() string { return i.url }

// Shared reports whether another process owns the state.
func (i *Instance) Shared() bool { return i.shared }

// Hold announces that this process keeps the state open for long: from now on
// others connect to it instead of waiting. Where the state is shared, another
// process has announced that already.
func (i *Instance) Hold() error {
	if i.shared || i.readOnly {
		return nil
	}
	if err := writeEndpoint(i.dir, endpoint{PID: os.Getpid(), URL: i.url, Hold: true}); err != nil {
		return fmt.Errorf("hold embedded state: %w", err)
	}
	return nil
}

// Run saves what changed, and expires what has had its time, once a second until
// ctx is done. A killed process loses at most what happened since. It fails when
// the state cannot be saved.
func (i *Instance) Run(ctx context.Context) error {
	if i.shared {
		<-ctx.Done()
		return nil
	}
	tick := time.NewTicker(saveInterval)
	defer tick.Stop()
	var last time.Time
	for {
		select {
		case <-ctx.Done():
			return nil
		case now := <-tick.C:
			// miniredis could do this by itself, with every command, but then each
			// takes time in proportion to the number of keys.
			if last.IsZero() {
				last = now.Add(-saveInterval)
			}
			i.server.FastForward(now.Sub(last))
			last = now
			if err := i.saveIfServed(); err != nil {
				return err
			}
		}
	}
}

// Close stops the Redis, saves the state and lets the next process in. Only the
// first call does something; where the state is shared, none does.
func (i *Instance) Close() error {
	if i.shared {
		return nil
	}
	i.closing.Store(true)
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.closed {
		return nil
	}
	i.closed = true
	i.server.Close() // after this, no client can write
	_, err := i.save()
	i.server.Close() // save reads through a connection of its own
	if i.readOnly {
		return err
	}
	return errors.Join(err, removeEndpoint(i.dir), i.lock.Unlock())
}

// saveIfServed saves if a command was served since the last look. A command is
// counted before it takes effect, so the look after one that saw any saves again.
func (i *Instance) saveIfServed() error {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.closed {
		return nil
	}
	count := i.server.CommandCount()
	served := count != i.seen
	if !served && !i.changed {
		return nil
	}
	i.changed = served
	own, err := i.save()
	i.seen = count + own // others' commands during the save show at the next look
	return err
}

// save writes a snapshot if it differs from the last one, and returns how many
// commands that took. The caller has the lock.
func (i *Instance) save() (commands int, err error) {
	entries, commands, err := dump(i.server, i.password)
	if err != nil {
		return commands, fmt.Errorf("save embedded state: %w", err)
	}
	body, digest, err := encode(entries)
	switch {
	case err != nil || digest == i.saved:
	case i.readOnly:
		err = fmt.Errorf("%s cannot be written: nothing of this run was saved: %w", i.dir, fs.ErrPermission)
	default:
		err = writeSnapshot(filepath.Join(i.dir, snapshotFile), body, digest)
	}
	if err != nil {
		return commands, fmt.Errorf("save embedded state: %w", err)
	}
	i.saved = digest
	return commands, nil
}
