package rdb

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/oaas-platform/oprc/internal/oprc"
)

var (
	// ErrUnavailable means that Redis cannot be reached, or cannot serve now. The
	// error that wraps it says which address.
	ErrUnavailable = errors.New("redis is unavailable")
	// ErrFull, ErrDisk and ErrReplica mean that Redis answers, and takes no writes now: its
	// memory is full, it cannot save, or it is a replica. Each is an [ErrUnavailable] too.
	ErrFull    = errors.New("redis is full")
	ErrDisk    = errors.New("redis cannot save")
	ErrReplica = errors.New("redis is a replica")
	// ErrDenied means that Redis refuses the user, the password or the command.
	ErrDenied = errors.New("redis denies access")
)

// unavailable is an [ErrUnavailable] with its address and cause.
type unavailable struct {
	addr, cause string
	err         error
}

func (e *unavailable) Error() string   { return "redis at " + e.addr + ": " + e.cause }
func (e *unavailable) Unwrap() []error { return []error{ErrUnavailable, e.err} }

// worded says in our words what a server answered.
type worded struct {
	text string
	err  error
}

func (e *worded) Error() string { return e.text }
func (e *worded) Unwrap() error { return e.err }

// wrongKey says which key holds a value of another type, as the scripts of this package
// name it.
func wrongKey(err error) string {
	const what = "a key of the ledger holds a value of another type"
	_, named, is := strings.Cut(err.Error(), "the wrong kind of value: ")
	if !is {
		return what
	}
	named, _, _ = strings.Cut(named, " script: ")
	return what + ": " + named
}

// Answer is what a Redis answered in its own words, where err does not show it; else "".
func Answer(err error) string {
	answer, is := errors.AsType[redis.Error](err)
	if !is || strings.Contains(err.Error(), answer.Error()) {
		return ""
	}
	return answer.Error()
}

// wrap says in its error what a caller of rdb can tell apart: ctx ended, Redis is
// unavailable, Redis denies, or anything else. ctx is the caller's, not the
// one that was shortened for this call.
func (d *DB) wrap(ctx context.Context, err error) error {
	switch {
	case err == nil || errors.Is(err, redis.Nil):
		return nil
	case ctx.Err() != nil:
		return ctx.Err()
	case isTimeout(err) && past(ctx): // the socket saw the deadline before ctx did
		return context.DeadlineExceeded
	case errors.Is(err, oprc.ErrConflict), errors.Is(err, oprc.ErrFenced), errors.Is(err, ErrUnavailable):
		return err
	}
	if cause := networkCause(err); cause != "" {
		if c, is := d.c.(*redis.ClusterClient); is {
			// The client learns of a new master only from an answer, or once a minute.
			c.ReloadState(ctx)
			if node := nodeOf(err); node != "" {
				cause = "node " + node + ": " + cause
			}
		}
		return &unavailable{d.addr, cause, err}
	}
	if denied(err) {
		return fmt.Errorf("redis at %s: %w: %w", d.addr, ErrDenied, err)
	}
	if _, is := errors.AsType[*worded](err); is {
		return err
	}
	if errors.Is(err, errDamaged) {
		d.mistyped.Store(true)
		return fmt.Errorf("redis at %s: %w", d.addr, err)
	}
	if redis.HasErrorPrefix(err, "WRONGTYPE") {
		d.mistyped.Store(true)
		return &worded{"redis at " + d.addr + ": " + wrongKey(err) + ": a daemon sets it aside; oprc doctor names it", errors.Join(errDamaged, err)}
	}
	if cause := refusal(err); cause != "" {
		return &unavailable{d.addr, cause, errors.Join(noWrites(err), err)}
	}
	return fmt.Errorf("redis at %s: %w", d.addr, err)
}

// networkCause puts a failure of the network in a few words; "" if err is none.
func networkCause(err error) string {
	var dns *net.DNSError
	var op *net.OpError
	var errno syscall.Errno
	var notTLS tls.RecordHeaderError
	var badCert *tls.CertificateVerificationError
	switch {
	case errors.As(err, &notTLS):
		return "it does not speak TLS"
	case errors.As(err, &badCert):
		return badCert.Error()
	case errors.As(err, &dns):
		return "host " + dns.Name + " not found"
	case errors.Is(err, context.DeadlineExceeded), isTimeout(err):
		return "no answer in time"
	case errors.As(err, &errno):
		return errno.Error()
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, net.ErrClosed), errors.Is(err, redis.ErrClosed):
		return "connection closed"
	case errors.As(err, &op):
		return op.Err.Error()
	case errors.Is(err, redis.ErrPoolTimeout), errors.Is(err, redis.ErrPoolExhausted):
		return "no free connection"
	case strings.HasPrefix(err.Error(), "redis: all sentinels specified in configuration are unreachable"):
		return "no sentinel answers"
	}
	return ""
}

// nodeOf is the address that a failure of the network is about, or "".
func nodeOf(err error) string {
	if op, is := errors.AsType[*net.OpError](err); is && op.Addr != nil {
		return op.Addr.String()
	}
	return ""
}

func past(ctx context.Context) bool {
	deadline, ok := ctx.Deadline()
	return ok && !time.Now().Before(deadline)
}

func isTimeout(err error) bool {
	var n net.Error
	return errors.As(err, &n) && n.Timeout()
}

func denied(err error) bool { return redis.IsAuthError(err) || forbidden(err) }

// forbidden reports that Redis knows the user, and does not let it do this.
func forbidden(err error) bool {
	return err != nil && (redis.IsPermissionError(err) || strings.Contains(err.Error(), "The user executing the script can't"))
}

func answers(err error, prefix string) bool {
	return redis.HasErrorPrefix(err, prefix) || strings.HasPrefix(err.Error(), prefix+" ")
}

// noWrites is which of ErrFull, ErrDisk and ErrReplica an answer is, or nil.
func noWrites(err error) error {
	switch {
	case answers(err, "OOM"):
		return ErrFull
	case answers(err, "MISCONF"):
		return ErrDisk
	case redis.IsReadOnlyError(err):
		return ErrReplica
	}
	return nil
}

// TakesNoWrites reports that Redis answers, and can be read, but not written to.
func TakesNoWrites(err error) bool {
	return errors.Is(err, ErrFull) || errors.Is(err, ErrDisk) || errors.Is(err, ErrReplica)
}

// refusal says why a server that is up cannot do what it is asked now; "" if err is none
// of that kind.
func refusal(err error) string {
	why := noWrites(err)
	switch {
	case errors.Is(why, ErrFull):
		return "its memory is full (maxmemory), so it takes no writes"
	case errors.Is(why, ErrDisk):
		return "it cannot save to its disk, so it takes no writes"
	case errors.Is(why, ErrReplica):
		return "it is a replica, which takes no writes"
	case redis.IsTryAgainError(err):
		return "a slot is being moved to another node of the Cluster; it works again once that is done (redis-cli --cluster check shows slots that are left half-way)"
	case redis.IsLoadingError(err):
		return "it has just started, and is reading its data"
	case redis.IsClusterDownError(err):
		return "the Cluster is down: some of its slots have no master that can be reached"
	case redis.IsMasterDownError(err):
		return "it is a replica that has lost its master"
	case redis.IsMaxClientsError(err):
		return "it takes no more connections (maxclients)"
	case answers(err, "BUSY"):
		return "it is busy with a script of somebody, and answers nobody until that has ended (SCRIPT KILL ends one that has written nothing)"
	case answers(err, "UNBLOCKED"):
		return "it is no master of this slot any more"
	}
	return ""
}

// errDamaged means that a key is not of the type that it should be.
var errDamaged = errors.New("damaged")

// naming names the key of a command that found it to be of another type; the answer of
// Redis does not.
func naming(c redis.Cmder, err error) error {
	if args := c.Args(); answers(err, "WRONGTYPE") && len(args) > 1 {
		return fmt.Errorf("key %v is %w: it holds a value of another type; a daemon sets it aside", args[1], errDamaged)
	}
	return err
}

// failed is the first error of a pipeline in which keys may be absent.
func failed(cmds []redis.Cmder, err error) error {
	for _, c := range cmds {
		if cause := c.Err(); cause != nil && !errors.Is(cause, redis.Nil) {
			return naming(c, cause)
		}
	}
	return ignoreNil(err)
}

// quietClient keeps the client from writing to stderr: all it says comes back as
// errors too.
var quietClient = sync.OnceFunc(func() { redis.SetLogger(silence{}) })

type silence struct{}

func (silence) Printf(context.Context, string, ...any) {}
