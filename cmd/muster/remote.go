package main

import (
	"context"
	"crypto/tls"
	"errors"
	"iter"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/musterhq/muster"
	"github.com/musterhq/muster/api"
	"github.com/musterhq/muster/auth"
	"github.com/musterhq/muster/client"
	"github.com/musterhq/muster/internal/certs"
)

// cluster is what the commands ask of a running node; *client.Client has it.
type cluster interface {
	StatusWhen(ctx context.Context, w client.When) (status muster.Status, met bool, err error)
	Members(ctx context.Context) ([]muster.Member, error)
	Member(ctx context.Context, idOrName string) (muster.Member, error)
	Matrix(ctx context.Context) (muster.Matrix, error)
	ConfigGet(ctx context.Context, kind, name string) (muster.Document, error)
	ConfigList(ctx context.Context, kind string) ([]muster.Document, int64, error)
	ConfigPut(ctx context.Context, w client.Write) (muster.Document, error)
	ConfigDelete(ctx context.Context, w client.Write) (int64, error)
	Changes(ctx context.Context, after int64, wait time.Duration) ([]muster.Change, error)
	Revisions(ctx context.Context, p client.Past) (api.RevisionList, error)
	Diff(ctx context.Context, s client.Span) (api.DocumentDiff, error)
	Rollback(ctx context.Context, r client.Rollback) (api.ConfigOutcome, error)
	Apply(ctx context.Context, b client.Batch) (api.ConfigOutcome, error)
	Trace(ctx context.Context, rev int64) (muster.Trace, error)
	Drift(ctx context.Context) (muster.Drift, error)
	EventPage(ctx context.Context, q client.EventQuery) (muster.EventPage, error)
	Events(ctx context.Context, q client.EventQuery) iter.Seq2[client.Notice, error]
	Keys(ctx context.Context) ([]muster.NodeKeys, error)
	MembersWhere(ctx context.Context, f client.Filter) ([]muster.Member, error)
	Drain(ctx context.Context, idOrName string, o client.Order) (muster.Member, error)
	Resume(ctx context.Context, idOrName string, o client.Order) (muster.Member, error)
	Remove(ctx context.Context, idOrName, reason string) error
	Expel(ctx context.Context, idOrName string, o client.ExpelOrder) (muster.Expulsion, error)
	Readmit(ctx context.Context, idOrName, reason string) (int64, error)
	Reapable(ctx context.Context) (muster.ReapPlan, error)
	Leases(ctx context.Context) ([]muster.LeaseInfo, error)
	ReleaseLease(ctx context.Context, name, reason string) error
	Cluster(ctx context.Context) (muster.ClusterInfo, error)
	Form(ctx context.Context) (muster.ClusterInfo, error)
	Leave(ctx context.Context) error
	LoginCode(ctx context.Context) (api.LoginCode, error)
}

// connect makes the client of a node. It asks nothing yet.
func connect(to access) (cluster, error) {
	c, err := client.New(client.Config{Addr: to.addr, Token: to.token.Reveal(), TLS: to.tls})
	if err != nil {
		return nil, err
	}
	return c.AtLeast(to.minRev, to.minWait), nil
}

// access is a node to talk to, and as whom.
type access struct {
	addr  string
	token auth.Secret
	tls   *tls.Config // nil: the authorities of the system

	minRev  int64 // that reads of documents must show; 0: any
	minWait time.Duration
}

// remote is the flags of a command that talks to a node.
type remote struct {
	addr       string
	tokenFile  string
	cookieFile string
	timeout    time.Duration
	tls        certs.Files
	serverName string
	minRev     int64
}

func (a *app) remoteFlags(cmd *cobra.Command) *remote {
	r := &remote{}
	flags := cmd.Flags()
	flags.StringVar(&r.addr, "addr", orDefault(a.getenv("MUSTER_ADDR"), client.DefaultAddr), "`URL` of the node to talk to ($MUSTER_ADDR)")
	flags.StringVar(&r.tokenFile, "token-file", "", "`FILE` with the token (default: $MUSTER_TOKEN, or on this machine one made from the cookie)")
	flags.StringVar(&r.cookieFile, "cluster-cookie-file", "", "make a short-lived token from the cookie in this `FILE`, for a node on this machine")
	flags.StringSliceVar(&r.tls.CA, "ca", commas(a.getenv("MUSTER_CA")), "trust the authority in this `FILE`, PEM, instead of the system's ($MUSTER_CA)")
	flags.StringVar(&r.tls.Cert, "cert", a.getenv("MUSTER_CERT"), "`FILE` with a client certificate, PEM ($MUSTER_CERT)")
	flags.StringVar(&r.tls.Key, "key", a.getenv("MUSTER_KEY"), "`FILE` with the key of the client certificate ($MUSTER_KEY)")
	flags.StringVar(&r.serverName, "tls-server-name", a.getenv("MUSTER_TLS_SERVER_NAME"), "expect this `NAME` in the node's certificate ($MUSTER_TLS_SERVER_NAME)")
	flags.DurationVar(&r.timeout, "timeout", 10*time.Second, "give up after this `DURATION`")
	return r
}

// dial connects to the node and bounds the whole command in time. wait is how
// long the command itself means to wait.
func (a *app) dial(ctx context.Context, r *remote, wait time.Duration) (context.Context, context.CancelFunc, cluster, error) {
	addr, err := endpoint(r.addr)
	if err != nil {
		return nil, nil, nil, usage("--addr: %w", err)
	}
	token, err := a.token(r, addr, wait)
	if err != nil {
		return nil, nil, nil, err
	}
	secure, err := r.clientTLS()
	if err != nil {
		return nil, nil, nil, err
	}
	c, err := a.connect(access{addr: addr, token: token, tls: secure, minRev: r.minRev, minWait: r.patience()})
	if err != nil {
		return nil, nil, nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, r.timeout+wait)
	return ctx, cancel, c, nil
}

// minRevFlag lets a command read no older revision than one.
func (r *remote) minRevFlag(cmd *cobra.Command) {
	cmd.Flags().Int64Var(&r.minRev, "min-rev", 0, "wait until the node serves revision `N`, up to --timeout: what was written anywhere is read here")
}

// patience is how long the node may wait for --min-rev: a little less than we do.
func (r *remote) patience() time.Duration {
	if r.minRev <= 0 {
		return 0
	}
	return max(time.Second, (r.timeout - time.Second).Truncate(time.Second))
}

// clientTLS reads the certificates of the flags; nil if there are none.
func (r *remote) clientTLS() (*tls.Config, error) {
	switch {
	case r.tls.Cert == "" != (r.tls.Key == ""):
		return nil, usage("--cert and --key go together")
	case r.tls.Cert == "" && len(r.tls.CA) == 0 && r.serverName == "":
		return nil, nil
	}
	keeper := certs.NewKeeper(r.tls)
	if err := keeper.Load(); err != nil {
		if f, ok := errors.AsType[*certs.Fault](err); ok {
			err = &muster.Error{Code: muster.Code(f.Code), Text: f.Text, Err: f}
		}
		return nil, err
	}
	return keeper.Client(r.serverName), nil
}

// token finds the caller's credential: --token-file, MUSTER_TOKEN, or for a node
// on this machine a token made from the cookie. Without any of them the caller is
// anonymous.
func (a *app) token(r *remote, addr string, wait time.Duration) (auth.Secret, error) {
	if r.tokenFile != "" {
		raw, err := os.ReadFile(r.tokenFile)
		if err != nil {
			return auth.Secret{}, usage("--token-file: %w", err)
		}
		return auth.NewSecret(strings.TrimSpace(string(raw))), nil
	}
	if r.cookieFile == "" {
		if text := a.getenv("MUSTER_TOKEN"); text != "" {
			return auth.NewSecret(text), nil
		}
	}
	path, asked := a.cookiePath(r)
	if !onThisMachine(addr) {
		if r.cookieFile != "" {
			return auth.Secret{}, usage("--cluster-cookie-file makes tokens for nodes on this machine only, and %s is elsewhere", addr).
				WithFix("muster token create --cluster-cookie-file %s > token, and pass --token-file token", quote(r.cookieFile))
		}
		return auth.Secret{}, nil
	}
	cookies, err := auth.LoadCookies([]string{path}, a.stdin)
	if err != nil {
		if !asked {
			return auth.Secret{}, nil
		}
		return auth.Secret{}, err
	}
	return a.mint(cookies, wait)
}

// cookiePath returns the cookie to make tokens from, and whether anybody asked
// for it: the one in the default data directory is only tried.
func (a *app) cookiePath(r *remote) (path string, asked bool) {
	if r.cookieFile != "" {
		return r.cookieFile, true
	}
	if files := commas(a.getenv("MUSTER_CLUSTER_COOKIE_FILE")); len(files) > 0 && files[0] != "-" {
		return files[0], true
	}
	return filepath.Join(orDefault(a.getenv("MUSTER_DATA_DIR"), "muster-data"), cookieName), false
}

// mint makes a token for this one command.
func (a *app) mint(ring auth.Ring, wait time.Duration) (auth.Secret, error) {
	token, err := ring.Issue(auth.Claims{Subject: a.user(), Role: auth.RoleAdmin, Expires: time.Now().Add(5*time.Minute + wait)})
	return auth.NewSecret(token), err
}

// user names the caller in the history of the configuration.
func (a *app) user() string {
	for _, name := range []string{"USER", "LOGNAME", "USERNAME"} {
		if user := muster.Printable(a.getenv(name)); user != "" && len(user) <= 63 {
			return user
		}
	}
	return "cli"
}

func onThisMachine(addr string) bool {
	u, err := url.Parse(addr)
	if err != nil {
		return false
	}
	if u.Hostname() == "localhost" {
		return true
	}
	ip, err := netip.ParseAddr(u.Hostname())
	return err == nil && ip.Unmap().IsLoopback()
}

// quote makes a word safe to paste into a shell.
func quote(word string) string {
	plain := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("-_./:@%+=,", r)
	}
	if word != "" && strings.IndexFunc(word, func(r rune) bool { return !plain(r) }) < 0 {
		return word
	}
	return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
}
