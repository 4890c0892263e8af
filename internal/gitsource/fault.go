package gitsource

import (
	"compress/zlib"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
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
	"github.com/go-git/go-git/v5/plumbing/protocol/packp"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp/sideband"
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
	// Raw is what the library, the network or the disk said, without secrets: for a log at
	// level DEBUG, not for users.
	Raw string
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
	f := &Fault{URL: r.shown, Raw: r.scrub(err.Error())}
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
// means that it stays so until somebody acts. No words of a library are in it: [Fault.Raw]
// has them.
func cause(err error) (text string, lasting bool) {
	for _, words := range []func(error) (string, bool){ofAccess, ofCertificate, ofRepository, ofDisk, ofNetwork, ofProtocol} {
		if text, lasting := words(err); text != "" {
			return text, lasting
		}
	}
	return "it cannot be read; the log has the details at level DEBUG", false
}

// ofAccess is about keys, passwords and certificates.
func ofAccess(err error) (string, bool) {
	var (
		host  *knownhosts.KeyError
		file  *fs.PathError
		moved *movedError
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
	case errors.Is(err, transport.ErrInvalidAuthMethod):
		return "its protocol has no such way to sign in; a user, password or token is for https, sshKeyFile for ssh", true
	case strings.Contains(err.Error(), "ssh: unable to authenticate"): // the library has no other mark for it
		return "it does not accept the ssh key; give the public one read access there", false
	}
	return "", false
}

// ofCertificate is about TLS.
func ofCertificate(err error) (string, bool) {
	var (
		signer x509.UnknownAuthorityError
		host   x509.HostnameError
		date   x509.CertificateInvalidError
		other  *tls.CertificateVerificationError
		plain  tls.RecordHeaderError
	)
	switch {
	case errors.As(err, &signer):
		return "nobody who is trusted signed its certificate; if it is your own, name the signer's with caFile", false
	case errors.As(err, &host):
		return "its certificate is for another host name than " + host.Host, false
	case errors.As(err, &date) && date.Reason == x509.Expired:
		return "its certificate has expired, or is not valid yet", false
	case errors.As(err, &other):
		return "its certificate cannot be verified", false
	case errors.As(err, &plain):
		return "it does not speak TLS; check scheme and port of url", false
	}
	return "", false
}

// ofRepository is about what is there.
func ofRepository(err error) (string, bool) {
	var odd *plumbing.UnexpectedError
	var answer *githttp.Err
	var refusal *pktline.ErrorLine
	var pack *packfile.Error
	text := err.Error()
	switch {
	case errors.As(err, &refusal):
		return "the server refuses: " + quoted(refusal.Text), false
	case said(text) != "":
		return "the server refuses: " + quoted(said(text)), false
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
	case errors.Is(err, git.ErrUnsupportedRepositoryFormatVersion):
		return "the format of the repository is newer than what is supported (core.repositoryformatversion in its config)", true
	case errors.Is(err, git.ErrUnsupportedExtensionRepositoryFormatVersion), strings.Contains(text, "unknown extension"), strings.Contains(text, "unsupported extension"):
		return "the repository uses an extension of Git that is not supported: " + quoted(text[strings.LastIndexByte(text, ' ')+1:]), true
	case errors.Is(err, pktline.ErrInvalidPktLen), strings.Contains(text, "invalid pkt-len"), strings.Contains(text, "pkt-line"):
		return "the server answers with something else than Git's protocol, a login page perhaps; check url and the token", true
	case errors.Is(err, object.ErrUnsupportedObject):
		return "the ref leads to something that is no commit", true
	case damaged(err), errors.As(err, &pack):
		return "objects are missing or damaged in it, or in what the server sent; git fsck in the repository shows which", false
	case spoiled(err):
		return "files in its .git directory are damaged; git fsck in it shows which", false
	}
	return "", false
}

// spoiled reports whether what a repository says of itself, besides objects, is damaged.
func spoiled(err error) bool {
	for _, known := range []error{
		dotgit.ErrPackedRefsBadFormat, dotgit.ErrPackedRefsDuplicatedRef, dotgit.ErrSymRefTargetNotFound, dotgit.ErrIsDir, dotgit.ErrEmptyRefFile,
		plumbing.ErrReferenceNotFound, plumbing.ErrInvalidType, git.ErrUnableToResolveCommit, git.ErrRepositoryIncomplete,
	} {
		if errors.Is(err, known) {
			return true
		}
	}
	return false
}

// said is what a server wrote to stderr, or to the channel for errors; "" if the error is no
// such. The library has no type for it.
func said(text string) string {
	for _, before := range []string{"unknown error: ", "unexpected error: "} {
		if _, after, is := strings.Cut(text, before); is {
			return after
		}
	}
	return ""
}

// quoted is what a server says, in one line that is not long.
func quoted(text string) string {
	const most = 200
	words := []rune(strings.Join(strings.Fields(text), " "))
	if len(words) > most {
		words = append(words[:most], '…')
	}
	return strconv.Quote(string(words))
}

// ofDisk is about files and directories here.
func ofDisk(err error) (string, bool) {
	var file *fs.PathError
	var errno syscall.Errno
	switch {
	case errors.Is(err, syscall.ENOSPC):
		return "the disk of the cache directory is full", false
	case errors.As(err, &file) && errors.As(file.Err, &errno):
		return file.Path + ": " + errno.Error(), false
	}
	return "", false
}

// ofNetwork is about the way there.
func ofNetwork(err error) (string, bool) {
	var dns *net.DNSError
	var op *net.OpError
	var errno syscall.Errno
	var slow net.Error
	switch {
	case errors.Is(err, errStalled):
		return fmt.Sprintf("it stopped sending: less than %d bytes in %s", stallBytes, stallTime), false
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &slow) && slow.Timeout():
		return "no answer in time", false
	case errors.As(err, &dns):
		return "host " + dns.Name + " not found", false
	case errors.As(err, &op) && op.Op == "proxyconnect" && !errors.As(op.Err, &errno):
		return "the proxy answers " + quoted(op.Err.Error()), false
	case errors.As(err, &op) && op.Op == "proxyconnect":
		return "the proxy cannot be reached: " + errno.Error(), false
	case errors.As(err, &errno):
		return errno.Error(), false
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, net.ErrClosed):
		return "the connection ended in the middle of an answer", false
	}
	return "", false
}

// ofProtocol is about what a server answers that is none of Git's protocol.
func ofProtocol(err error) (string, bool) {
	var odd *packp.ErrUnexpectedData
	var broken *plumbing.UnexpectedError
	switch text := err.Error(); {
	case strings.Contains(text, "ssh: "): // the library has no types for most of it
		return "the ssh connection cannot be set up; ssh -v to the host shows why", false
	case errors.As(err, &odd), errors.As(err, &broken), errors.Is(err, packp.ErrEmptyAdvRefs), errors.Is(err, packp.ErrEmptyInput), errors.Is(err, sideband.ErrMaxPackedExceeded),
		errors.Is(err, packfile.ErrMalformedPackFile), errors.Is(err, packfile.ErrReferenceDeltaNotFound):
		return "the server's answer breaks off, or is none of Git's protocol", false
	}
	return "", false
}
