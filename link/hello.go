package link

import (
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"github.com/musterhq/muster"
)

// Hello is what a peer says about itself. A Hello that is handed to other
// packages has verified: its sender holds the cookie and the private key of ID.
type Hello struct {
	ID           muster.NodeID
	PublicKey    ed25519.PublicKey
	Boot         muster.Boot
	Name         string
	Endpoint     string // empty = outbound only
	Cluster      muster.ClusterID
	Versions     [2]uint8 // lowest and highest protocol version
	Capabilities []string
	Formation    string
	Expect       int
	Role         muster.Role
}

// The two ends of a connection, as they are signed.
const (
	roleClient = "client"
	roleServer = "server"
)

// Limits of a HELLO.
const (
	maxEndpoint     = 256
	maxCapabilities = 16
	maxWord         = 64 // a capability, the formation source
	maxExpect       = 1_000_000
)

var (
	wordPattern = regexp.MustCompile(`^[A-Za-z0-9._:/+-]{0,64}$`)
	codePattern = regexp.MustCompile(`^[a-z0-9-]{1,40}$`)
)

// wireHello is the JSON form of a HELLO. Unknown fields are ignored, so that later
// versions may say more.
type wireHello struct {
	ID           muster.NodeID     `json:"id"`
	PublicKey    ed25519.PublicKey `json:"key"`
	Boot         muster.Boot       `json:"boot"`
	Name         string            `json:"name"`
	Endpoint     string            `json:"endpoint,omitempty"`
	Cluster      muster.ClusterID  `json:"cluster,omitempty"`
	Versions     [2]uint8          `json:"versions"`
	Capabilities []string          `json:"capabilities,omitempty"`
	Formation    string            `json:"formation,omitempty"`
	Expect       int               `json:"expect,omitempty"`
	Role         muster.Role       `json:"role"`
	Signature    []byte            `json:"sig"`
}

// signedBytes is what a HELLO's signature covers. The binding differs in every
// connection, so a signature is worth nothing in another one; the role keeps the
// two ends apart.
func signedBytes(role string, channel Channel, binding []byte) []byte {
	b := []byte("muster-link-1\x00" + role + "\x00" + string(channel) + "\x00")
	return append(b, binding...)
}

// encodeHello makes our HELLO for one connection.
func encodeHello(self Self, facts Facts, signed []byte) ([]byte, error) {
	b, err := json.Marshal(wireHello{
		ID: self.ID, PublicKey: self.Key.Public().(ed25519.PublicKey), Boot: self.Boot, Name: self.Name,
		Endpoint: facts.Endpoint, Cluster: facts.Cluster, Versions: [2]uint8{version, version},
		Formation: facts.Formation, Expect: facts.Expect, Role: facts.Role,
		Signature: ed25519.Sign(self.Key, signed),
	})
	if err != nil {
		return nil, fmt.Errorf("encode hello: %w", err)
	}
	return b, nil
}

// decodeHello reads and verifies a HELLO.
func decodeHello(b, signed []byte) (Hello, error) {
	var w wireHello
	if err := json.Unmarshal(b, &w); err != nil {
		return Hello{}, fmt.Errorf("%w: %w", errHello, err)
	}
	if err := w.check(); err != nil {
		return Hello{}, fmt.Errorf("%w: %w", errHello, err)
	}
	if !ed25519.Verify(w.PublicKey, signed, w.Signature) {
		return Hello{}, fmt.Errorf("%w: the signature is not by the key of the node id", errHello)
	}
	return Hello{
		ID: w.ID, PublicKey: w.PublicKey, Boot: w.Boot, Name: w.Name, Endpoint: w.Endpoint,
		Cluster: w.Cluster, Versions: w.Versions, Capabilities: w.Capabilities,
		Formation: w.Formation, Expect: w.Expect, Role: w.Role,
	}, nil
}

func (w wireHello) check() error {
	if len(w.PublicKey) != ed25519.PublicKeySize || muster.NodeIDOf(w.PublicKey) != w.ID {
		return errors.New("the node id does not belong to the public key")
	}
	if err := muster.CheckName(w.Name); err != nil {
		return err
	}
	if w.Endpoint != "" {
		if _, err := parseEndpoint(w.Endpoint); err != nil {
			return err
		}
	}
	return w.checkFacts()
}

func (w wireHello) checkFacts() error {
	switch {
	case w.Cluster != "" && !w.Cluster.Valid():
		return errors.New("the cluster id is malformed")
	case w.Versions[0] > w.Versions[1]:
		return errors.New("the version range is empty")
	case w.Role != muster.RoleVoter && w.Role != muster.RoleObserver:
		return fmt.Errorf("role %q is unknown", muster.Printable(string(w.Role)))
	case w.Expect < 0 || w.Expect > maxExpect:
		return errors.New("the expected number of nodes is out of range")
	case len(w.Capabilities) > maxCapabilities:
		return errors.New("too many capabilities")
	case !wordPattern.MatchString(w.Formation) || slices.ContainsFunc(w.Capabilities, notWord):
		return errors.New("a word has characters that are not allowed")
	}
	return nil
}

func notWord(s string) bool { return !wordPattern.MatchString(s) }

// parseEndpoint checks a node's endpoint: an http or https URL with at most a path.
func parseEndpoint(endpoint string) (*url.URL, error) {
	shown := muster.Printable(endpoint)
	if len(endpoint) > maxEndpoint || strings.ContainsFunc(endpoint, notURL) {
		return nil, muster.Errorf(muster.CodeBadConfig, "endpoint %q: too long, or with characters that a URL cannot have", shown)
	}
	u, err := url.Parse(endpoint)
	if err != nil {
		return nil, muster.Errorf(muster.CodeBadConfig, "endpoint %q is no URL", shown)
	}
	switch {
	case u.Scheme != "http" && u.Scheme != "https":
		err = errors.New("want http:// or https://")
	case u.Hostname() == "":
		err = errors.New("no host")
	case u.User != nil || u.RawQuery != "" || u.Fragment != "":
		err = errors.New("user, query and fragment are not allowed")
	}
	if err != nil {
		return nil, muster.Errorf(muster.CodeBadConfig, "endpoint %q: %w", shown, err)
	}
	return u, nil
}

func notURL(r rune) bool { return r <= ' ' || r >= 0x7F }

// refusal is the payload of a REFUSE frame.
type refusal struct {
	Code muster.Code `json:"code"`
	Text string      `json:"text"`
	Fix  string      `json:"fix"`
}

func encodeRefusal(e *muster.Error) ([]byte, error) {
	b, err := json.Marshal(refusal{e.Code, e.Text, e.Advice()})
	if err != nil {
		return nil, fmt.Errorf("encode refusal: %w", err)
	}
	return b, nil
}

// decodeRefusal never fails: a refusal that cannot be read is still one.
func decodeRefusal(b []byte) *muster.Error {
	var r refusal
	if err := json.Unmarshal(b, &r); err != nil || !codePattern.MatchString(string(r.Code)) {
		return muster.Errorf(muster.CodeInternal, "refused for a reason that this version cannot read")
	}
	return &muster.Error{Code: r.Code, Text: muster.Printable(r.Text), Fix: muster.Printable(r.Fix)}
}
