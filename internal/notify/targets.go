package notify

import (
	"bytes"
	"cmp"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/oaas-platform/oprc/internal/oprc"
)

// Options say where to, and with which secret.
type Options struct {
	Type string // github, gitlab, gitea or webhook
	// URL is where a webhook goes; of a forge, the root of its API, and "" derives it
	// from Repository.
	URL        string
	Repository string // of the source, as it is cloned: https or ssh
	Token      string // of a forge
	Secret     string // that a webhook is signed with
}

// Types lists what Options.Type may be.
func Types() []string { return []string{"github", "gitlab", "gitea", "webhook"} }

func (o Options) sender() (sender, error) {
	if o.Type == "webhook" {
		u, err := url.Parse(o.URL)
		switch {
		case err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https":
			return nil, fmt.Errorf("%w url %q: a webhook goes to an http or https URL", oprc.ErrInvalid, o.URL)
		case o.Secret == "":
			return nil, fmt.Errorf("%w secretEnv: missing; a webhook is signed", oprc.ErrInvalid)
		}
		return webhook{o}, nil
	}
	if o.Token == "" {
		return nil, fmt.Errorf("%w tokenEnv: missing; %s asks for a token", oprc.ErrInvalid, o.Type)
	}
	root, path, err := repository(o.Repository)
	if err != nil {
		return nil, err
	}
	given := strings.TrimRight(o.URL, "/")
	switch o.Type {
	case "github":
		base, repo := ownerAndName(root, path)
		if base += "/api/v3"; root == "https://github.com" {
			base = "https://api.github.com"
		}
		return github{cmp.Or(given, base), repo, o.Token}, nil
	case "gitlab": // groups nest: what comes before the group cannot be told apart
		return gitlab{cmp.Or(given, root+"/api/v4"), path, o.Token}, nil
	case "gitea":
		base, repo := ownerAndName(root, path)
		return gitea{cmp.Or(given, base+"/api/v1"), repo, o.Token}, nil
	}
	return nil, fmt.Errorf("%w type %q: it is one of %s", oprc.ErrInvalid, o.Type, strings.Join(Types(), ", "))
}

// ownerAndName takes the last two parts of a path for the repository, and what comes
// before them for where the forge itself is.
func ownerAndName(root, path string) (base, repo string) {
	parts := strings.Split(path, "/")
	n := max(0, len(parts)-2)
	return strings.TrimSuffix(root+"/"+strings.Join(parts[:n], "/"), "/"), strings.Join(parts[n:], "/")
}

// repository splits the URL of a repository into the root of its web server, scheme and
// port as they are, and its path there. What is cloned over ssh has its API at https.
func repository(raw string) (root, path string, err error) {
	if before, after, scp := strings.Cut(raw, ":"); scp && !strings.Contains(raw, "://") && !strings.Contains(before, "/") {
		raw = "ssh://" + before + "/" + strings.TrimPrefix(after, "/") // user@host:path
	}
	u, err := url.Parse(raw)
	if err == nil {
		path = strings.TrimSuffix(strings.Trim(u.Path, "/"), ".git")
	}
	if err != nil || u.Hostname() == "" || !strings.Contains(path, "/") {
		return "", "", fmt.Errorf("%w: the source's URL names no repository of a forge", oprc.ErrInvalid)
	}
	if u.Scheme == "http" || u.Scheme == "https" {
		return u.Scheme + "://" + u.Host, path, nil
	}
	return "https://" + u.Hostname(), path, nil
}

// request builds a JSON request.
func request(ctx context.Context, to string, body any, header ...string) (*http.Request, error) {
	data, err := json.Marshal(body)
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, to, bytes.NewReader(data))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", "oprc")
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	return req, nil
}

// label is the name of the status, one for each source.
func (o Outcome) label() string { return "oprc/" + o.Source }

// describe cuts the message to what forges take.
func (o Outcome) describe() string {
	const most = 140
	text := []rune(strings.Join(strings.Fields(o.Message), " "))
	if len(text) <= most {
		return string(text)
	}
	return string(text[:most-1]) + "…"
}

// status posts a commit status; a revision that is no commit has none.
func status(ctx context.Context, o Outcome, to string, body map[string]string, header ...string) error {
	if len(o.Revision) != 40 {
		return nil
	}
	req, err := request(ctx, to, body, header...)
	if err != nil {
		return err
	}
	return post(req)
}

type github struct{ base, repo, token string }

// POST /repos/{owner}/{repo}/statuses/{sha} of GitHub's REST API, version 2022-11-28.
func (g github) send(ctx context.Context, o Outcome) error {
	return status(ctx, o, g.base+"/repos/"+g.repo+"/statuses/"+o.Revision,
		map[string]string{"state": string(o.State), "context": o.label(), "description": o.describe()},
		"Authorization", "Bearer "+g.token, "Accept", "application/vnd.github+json", "X-GitHub-Api-Version", "2022-11-28")
}

type gitlab struct{ base, project, token string }

// POST /projects/{id}/statuses/{sha} of GitLab's REST API, version 4.
func (g gitlab) send(ctx context.Context, o Outcome) error {
	state := map[State]string{Pending: "running", Success: "success", Failure: "failed", Error: "failed"}[o.State]
	return status(ctx, o, g.base+"/projects/"+url.PathEscape(g.project)+"/statuses/"+o.Revision,
		map[string]string{"state": state, "name": o.label(), "description": o.describe()}, "PRIVATE-TOKEN", g.token)
}

type gitea struct{ base, repo, token string }

// POST /repos/{owner}/{repo}/statuses/{sha} of Gitea's API, version 1.
func (g gitea) send(ctx context.Context, o Outcome) error {
	return status(ctx, o, g.base+"/repos/"+g.repo+"/statuses/"+o.Revision,
		map[string]string{"state": string(o.State), "context": o.label(), "description": o.describe()}, "Authorization", "token "+g.token)
}

type webhook struct{ o Options }

// send posts the outcome with an HMAC-SHA-256 of the body, as incoming webhooks are
// signed. The delivery's id is the same when it is tried again.
func (h webhook) send(ctx context.Context, o Outcome) error {
	data, err := json.Marshal(o)
	if err != nil {
		return err
	}
	mac := hmac.New(sha256.New, []byte(h.o.Secret))
	mac.Write(data)
	id := sha256.Sum256(data)
	req, err := request(ctx, h.o.URL, json.RawMessage(data), "X-Oprc-Event", "outcome",
		"X-Oprc-Delivery", hex.EncodeToString(id[:16]), "X-Oprc-Signature", "sha256="+hex.EncodeToString(mac.Sum(nil)))
	if err != nil {
		return err
	}
	return post(req)
}
