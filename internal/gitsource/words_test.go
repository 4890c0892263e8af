package gitsource_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"io/fs"
	"net"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/go-git/go-git/v5"
	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/format/packfile"
	"github.com/go-git/go-git/v5/plumbing/format/pktline"
	"github.com/go-git/go-git/v5/plumbing/object"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp"
	"github.com/go-git/go-git/v5/plumbing/transport"
	"github.com/go-git/go-git/v5/storage/filesystem/dotgit"

	"github.com/oaas-platform/oprc/internal/gitsource"
)

// Each error that the Git library can give, found in its source, reaches a user without a
// word of the library.
func TestNoWordsOfTheLibrary(t *testing.T) {
	t.Parallel()
	texts := errorsOf(t, "github.com/go-git/go-git/v5", "plumbing", "storage", "config", "internal", "utils", "*.go")
	if len(texts) < 200 {
		t.Fatalf("%d errors were found in the library, want hundreds", len(texts))
	}
	for _, text := range texts {
		text = verbs.ReplaceAllString(text, "x")
		bare := errors.New(text)
		for _, err := range []error{bare, plumbing.NewUnexpectedError(bare), plumbing.NewPermanentError(bare), fmt.Errorf("read commit 1: a.yaml: %w", bare)} {
			got, _ := gitsource.Cause(err)
			for _, piece := range strings.FieldsFunc(text, func(r rune) bool { return r == ':' || r == ';' }) {
				if piece = strings.TrimSpace(piece); len(piece) > 7 && strings.Contains(got, piece) {
					t.Errorf("%q reaches a user as %q", text, got)
				}
			}
		}
	}
}

var verbs = regexp.MustCompile(`%[-+# 0-9.]*[a-zA-Z]`)

// errorsOf lists the texts with which packages of a module make errors.
func errorsOf(t *testing.T, module string, below ...string) (texts []string) {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "go", "list", "-m", "-f", "{{.Dir}}", module).Output()
	if err != nil {
		t.Fatal(err)
	}
	root := strings.TrimSpace(string(out))
	visit := func(name string) {
		if !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go") {
			return
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(file, func(n ast.Node) bool {
			call, is := n.(*ast.CallExpr)
			if !is || len(call.Args) == 0 {
				return true
			}
			name := ""
			switch f := call.Fun.(type) {
			case *ast.Ident:
				name = f.Name
			case *ast.SelectorExpr:
				name = f.Sel.Name
			}
			if literal, is := call.Args[0].(*ast.BasicLit); is && literal.Kind == token.STRING && (name == "New" || name == "Errorf" || name == "NewError") {
				text, err := strconv.Unquote(literal.Value)
				if err != nil {
					t.Fatal(err)
				}
				texts = append(texts, text)
			}
			return true
		})
	}
	for _, pattern := range below {
		found, err := filepath.Glob(filepath.Join(root, pattern))
		if err != nil {
			t.Fatal(err)
		}
		for _, at := range found {
			if err := filepath.WalkDir(at, func(name string, _ fs.DirEntry, err error) error { visit(name); return err }); err != nil {
				t.Fatal(err)
			}
		}
	}
	return texts
}

// What is wrong is said with what to do, and whether it helps to try again.
func TestCauses(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		err     error
		want    string
		lasting bool
	}{
		"refused by the server": {&pktline.ErrorLine{Text: "access denied\nor suspended"}, `the server refuses: "access denied or suspended"`, false},
		"refused over ssh":      {errors.New("unknown error: ERROR: You're using a key that expired"), `the server refuses: "ERROR: You're using a key`, false},
		"refused while packing": {errors.New("unexpected error: internal server error"), `the server refuses: "internal`, false},
		"no such repository":    {fmt.Errorf("%w: x", transport.ErrRepositoryNotFound), "there is no such repository", false},
		"password":              {fmt.Errorf("%w: x", transport.ErrAuthenticationRequired), "refuses the user, password or token", false},
		"way to sign in":        {transport.ErrInvalidAuthMethod, "no such way to sign in", true},
		"format":                {fmt.Errorf("%w: 2", git.ErrUnsupportedRepositoryFormatVersion), "core.repositoryformatversion", true},
		"no commit":             {object.ErrUnsupportedObject, "no commit", true},
		"object lost":           {fmt.Errorf("a.yaml: %w", plumbing.ErrObjectNotFound), "git fsck", false},
		"pack garbled":          {packfile.ErrInvalidObject.AddDetails("at 7"), "git fsck", false},
		"refs garbled":          {dotgit.ErrPackedRefsBadFormat, "git fsck", false},
		"ref leads nowhere":     {plumbing.ErrReferenceNotFound, "git fsck", false},
		"another protocol":      {packp.NewErrUnexpectedData("flush expected", []byte("hello")), "none of Git's protocol", false},
		"pack that breaks off":  {fmt.Errorf("%w: checksum mismatch", packfile.ErrMalformedPackFile), "breaks off", false},
		"ssh":                   {errors.New("ssh: handshake failed: ssh: no common algorithm for host key"), "ssh connection cannot be set up", false},
		"ssh key":               {errors.New("ssh: handshake failed: ssh: unable to authenticate, attempted methods [none]"), "does not accept the ssh key", false},
		"certificate expired":   {&tls.CertificateVerificationError{Err: x509.CertificateInvalidError{Reason: x509.Expired}}, "has expired", false},
		"certificate elsewhere": {&tls.CertificateVerificationError{Err: x509.HostnameError{Host: "git.example"}}, "another host name than git.example", false},
		"certificate unsigned":  {&tls.CertificateVerificationError{Err: x509.UnknownAuthorityError{}}, "caFile", false},
		"certificate odd":       {&tls.CertificateVerificationError{Err: x509.CertificateInvalidError{Reason: x509.TooManyIntermediates}}, "cannot be verified", false},
		"no TLS":                {tls.RecordHeaderError{Msg: "first record does not look like a TLS handshake"}, "does not speak TLS", false},
		"no such host":          {&net.OpError{Op: "dial", Err: &net.DNSError{Name: "git.example"}}, "host git.example not found", false},
		"nobody listens":        {&net.OpError{Op: "dial", Err: syscall.ECONNREFUSED}, "connection refused", false},
		"proxy away":            {&net.OpError{Op: "proxyconnect", Err: &net.OpError{Op: "dial", Err: syscall.ECONNREFUSED}}, "the proxy cannot be reached: connection refused", false},
		"proxy asks":            {&net.OpError{Op: "proxyconnect", Err: errors.New("Proxy Authentication Required")}, `the proxy answers "Proxy Authentication Required"`, false},
		"no answer":             {fmt.Errorf("list: %w", context.DeadlineExceeded), "no answer in time", false},
		"broken off":            {fmt.Errorf("unexpected: %w", io.ErrUnexpectedEOF), "ended in the middle", false},
		"disk full":             {&fs.PathError{Op: "write", Path: "/cache/x", Err: syscall.ENOSPC}, "disk of the cache directory is full", false},
		"not allowed":           {&fs.PathError{Op: "open", Path: "/srv/r.git/HEAD", Err: syscall.EACCES}, "/srv/r.git/HEAD: permission denied", false},
		"what nobody foresaw":   {errors.New("zlib reset error: x"), "it cannot be read; the log has the details at level DEBUG", false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, lasting := gitsource.Cause(test.err)
			if !strings.Contains(got, test.want) || lasting != test.lasting {
				t.Errorf("got %q (lasting: %v), want %q (%v)", got, lasting, test.want, test.lasting)
			}
		})
	}
}
