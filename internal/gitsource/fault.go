package gitsource

import (
	"compress/zlib"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/go-git/go-git/v5"
	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/format/idxfile"
	"github.com/go-git/go-git/v5/plumbing/format/packfile"
	"github.com/go-git/go-git/v5/plumbing/format/pktline"
	"github.com/go-git/go-git/v5/plumbing/object"
	"github.com/go-git/go-git/v5/plumbing/transport"
	githttp "github.com/go-git/go-git/v5/plumbing/transport/http"
	"github.com/go-git/go-git/v5/storage/filesystem/dotgit"
	"golang.org/x/crypto/ssh/knownhosts"

	"github.com/oaas-platform/oprc/internal/oprc"
)

// A Fault is why a repository cannot be used, in words of ours. It is an
// [ErrUnavailable].
type Fault struct {
	URL       string // without credentials
	Cause     string
	Permanent bool          // trying again is of no use before somebody has acted
	After     time.Duration // that the server asked to be left alone for; 0 if it did not
}

func (f *Fault) Error() string { return fmt.Sprintf("%v: %s: %s", ErrUnavailable, f.URL, f.Cause) }
func (f *Fault) Unwrap() error { return ErrUnavailable }

// Lasting reports whether somebody has to act before it helps to try again.
func (f *Fault) Lasting() bool { return f.Permanent }

// RetryAfter is how long the server asked to be left alone for, or 0.
func (f *Fault) RetryAfter() time.Duration { return f.After }

// fault puts an error of go-git, the network or the disk in words.
func (r *remote) fault(err error) error {
	if f, is := errors.AsType[*Fault](err); is {
		return f
	}
	f := &Fault{URL: r.shown}
	f.Cause, f.Permanent = cause(err)
	var odd *plumbing.UnexpectedError
	var answer *githttp.Err
	if errors.As(err, &odd) && errors.As(odd.Err, &answer) {
		f.After = retryAfter(answer.Response.Header.Get("Retry-After"), answer.Response.Header.Get("Date"))
	}
	f.Cause = r.scrub(f.Cause)
	return f
}

// explained leaves errors that are ours alone, and puts others in words.
func (r *remote) explained(err error) error {
	if err == nil {
		return nil
	}
	for _, known := range []error{
		ErrUnavailable, oprc.ErrNotFound, oprc.ErrInvalid, oprc.ErrUnverified, oprc.ErrDenied, context.Canceled, context.DeadlineExceeded,
	} {
		if errors.Is(err, known) {
			return err
		}
	}
	return r.fault(err)
}

// damaged reports whether an error proves that a mirror lost or garbled objects.
func damaged(err error) bool {
	if errors.Is(err, syscall.ENOSPC) {
		return false
	}
	for _, proof := range []error{
		plumbing.ErrObjectNotFound, dotgit.ErrPackfileNotFound, idxfile.ErrMalformedIdxFile, idxfile.ErrUnsupportedVersion,
		packfile.ErrEmptyPackfile, packfile.ErrBadSignature, packfile.ErrUnsupportedVersion, packfile.ErrZLib, packfile.ErrInvalidObject,
		zlib.ErrChecksum, zlib.ErrDictionary, zlib.ErrHeader, object.ErrParentNotFound, object.ErrDirectoryNotFound,
	} {
		if errors.Is(err, proof) {
			return true
		}
	}
	return false
}

// most is how long a server may ask to be left alone for.
const most = time.Hour

// retryAfter reads the header of that name: seconds, or a date as of the server's own.
func retryAfter(value, date string) time.Duration {
	if n, err := strconv.Atoi(value); err == nil {
		return min(max(0, time.Duration(n)*time.Second), most)
	}
	at, err := http.ParseTime(value)
	now, err2 := http.ParseTime(date)
	if err != nil || err2 != nil {
		return 0
	}
	return min(max(0, at.Sub(now)), most)
}

// cause says in one sentence what is wrong, and what to do where that is known; lasting
// means that it stays so until somebody acts.
func cause(err error) (text string, lasting bool) {
	for _, words := range []func(error) (string, bool){ofAccess, ofRepository, ofNetwork} {
		if text, lasting := words(err); text != "" {
			return text, lasting
		}
	}
	// What nobody foresaw stands in the log of whoever runs this with debugging; a user is
	// helped by its kind alone.
	return "it cannot be read (" + plain(err) + ")", false
}

// ofAccess is about keys, passwords and certificates.
func ofAccess(err error) (string, bool) {
	var (
		host   *knownhosts.KeyError
		signer x509.UnknownAuthorityError
		file   *fs.PathError
		moved  *movedError
	)
	refused := errors.Is(err, transport.ErrAuthenticationRequired) || errors.Is(err, transport.ErrAuthorizationFailed)
	switch {
	case errors.Is(err, errKnownHosts) && errors.As(err, &file):
		return fmt.Sprintf("knownHosts names the file %s, which cannot be read: %v", file.Path, file.Err), true
	case errors.Is(err, errKnownHosts):
		return "there is no known_hosts file that could be read; name one with knownHosts", true
	case errors.Is(err, errKeyFile) && errors.As(err, &file):
		return fmt.Sprintf("sshKeyFile names the file %s, which cannot be read: %v", file.Path, file.Err), true
	case errors.Is(err, errKeyFile):
		return "the file that sshKeyFile names holds no private key that can be used, or its passphrase is another", true
	case errors.Is(err, errAgent):
		return "there is no ssh agent (SSH_AUTH_SOCK); name a key with sshKeyFile", true
	case errors.As(err, &moved) && refused:
		return fmt.Sprintf("it redirects to %s, which asks for a password or token; those of the source are for the host in url alone: name the new address there", moved.host), true
	case strings.Contains(err.Error(), "http redirect:"):
		return "it redirects to something that is no repository; check url", true
	case refused:
		return "it refuses the user, password or token", false
	case errors.As(err, &host) && len(host.Want) == 0:
		return "the host's key is not in known_hosts; add it once you have made sure that it is the host's (ssh-keyscan prints it)", false
	case errors.As(err, &host):
		return fmt.Sprintf("the host shows another key than %s has: it was set up anew, or somebody is in between", host.Want[0].Filename), false
	case errors.As(err, &signer):
		return "nobody who is trusted signed its certificate; if it is your own, name the signer's with caFile", false
	case strings.Contains(err.Error(), "ssh: unable to authenticate"): // the library has no other mark for it
		return "it does not accept the ssh key; give the public one read access there", false
	}
	return "", false
}

// ofRepository is about what is there.
func ofRepository(err error) (string, bool) {
	var odd *plumbing.UnexpectedError
	var answer *githttp.Err
	text := err.Error()
	switch {
	case errors.As(err, &odd) && errors.As(odd.Err, &answer):
		code := answer.StatusCode()
		return strings.TrimSpace(fmt.Sprintf("the server answers %d %s", code, http.StatusText(code))), false
	case errors.As(err, &odd) && errors.Is(odd.Err, plumbing.ErrReferenceNotFound):
		return "its HEAD is a commit that no branch names; give it a default branch", false
	case errors.Is(err, transport.ErrRepositoryNotFound):
		return "there is no such repository, or its access token is missing", false
	case errors.Is(err, git.ErrRepositoryNotExists):
		return "there is no repository in that directory", false
	case errors.Is(err, git.ErrSHA256NotSupported), strings.Contains(text, "objectformat"), strings.Contains(text, "object-format"):
		return "its objects are named by SHA-256, which is not supported; use a repository with SHA-1", true
	case errors.Is(err, git.ErrUnsupportedExtensionRepositoryFormatVersion), strings.Contains(text, "unknown extension"), strings.Contains(text, "unsupported extension"):
		_, name, _ := strings.Cut(text, ": ")
		return "the repository uses an extension of Git that is not supported: " + name, true
	case errors.Is(err, pktline.ErrInvalidPktLen), strings.Contains(text, "invalid pkt-len"), strings.Contains(text, "pkt-line"):
		return "the server answers with something else than Git's protocol, a login page perhaps; check url and the token", true
	case errors.Is(err, object.ErrUnsupportedObject):
		return "the ref leads to something that is no commit", true
	}
	return "", false
}

// ofNetwork is about the way there, and the disk here.
func ofNetwork(err error) (string, bool) {
	var dns *net.DNSError
	var op *net.OpError
	var errno syscall.Errno
	switch {
	case errors.Is(err, errStalled):
		return fmt.Sprintf("it stopped sending: less than %d bytes in %s", stallBytes, stallTime), false
	case errors.Is(err, context.DeadlineExceeded):
		return "no answer in time", false
	case errors.Is(err, syscall.ENOSPC):
		return "the disk of the cache directory is full", false
	case errors.As(err, &dns):
		return "host " + dns.Name + " not found", false
	case errors.As(err, &op) && errors.As(op.Err, &errno):
		return errno.Error(), false
	case errors.As(err, &errno):
		return errno.Error(), false
	}
	return "", false
}

// plain is the last part of an error, without what the library was doing.
func plain(err error) string {
	for {
		inner := errors.Unwrap(err)
		if inner == nil {
			return err.Error()
		}
		err = inner
	}
}
