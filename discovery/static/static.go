// Package static is the discovery method of a fixed list of endpoints:
//
//	static://10.0.0.1:9113,10.0.0.2:9113?scheme=https
//
// The list may name this node itself, so that all nodes can be given the same.
package static

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/musterhq/muster"
	"github.com/musterhq/muster/discovery"
)

// Name is the name of the method.
const Name = "static"

// Source is a fixed list. It implements discovery.Source.
type Source struct {
	endpoints []string
}

// New makes a source of endpoint URLs.
func New(endpoints ...string) *Source { return &Source{endpoints: slices.Clone(endpoints)} }

// Parse reads the form static://HOST:PORT,HOST:PORT?scheme=https. The port may
// be left out. It reports everything that is wrong.
func Parse(text string) (*Source, error) {
	rest, ok := strings.CutPrefix(text, "static://")
	if !ok {
		return nil, fmt.Errorf("discovery %q: want static://HOST:PORT,HOST:PORT", muster.Printable(text))
	}
	list, scheme, err := split(rest)
	if err != nil {
		return nil, fmt.Errorf("discovery %q: %w", muster.Printable(text), err)
	}
	var endpoints []string
	var faults []error
	for item := range strings.SplitSeq(list, ",") {
		if item = strings.TrimSpace(item); item == "" {
			continue
		}
		endpoint, err := parseItem(scheme, item)
		endpoints, faults = append(endpoints, endpoint), append(faults, err)
	}
	if len(endpoints) == 0 {
		faults = append(faults, errors.New("the list names no node"))
	}
	if err := errors.Join(faults...); err != nil {
		return nil, fmt.Errorf("discovery %q: %w", muster.Printable(text), err)
	}
	return New(endpoints...), nil
}

// split takes the parameters off. They may follow ? or, as in a list that has
// none before, &.
func split(rest string) (list, scheme string, err error) {
	end := strings.IndexAny(rest, "?&")
	if end < 0 {
		return rest, "http", nil
	}
	values, err := url.ParseQuery(rest[end+1:])
	if err != nil {
		return "", "", err
	}
	scheme = "http"
	for key := range values {
		if key != "scheme" {
			return "", "", fmt.Errorf("there is no parameter %q; the one there is: scheme", muster.Printable(key))
		}
		scheme = values.Get(key)
	}
	if scheme != "http" && scheme != "https" {
		return "", "", fmt.Errorf("scheme %q is neither http nor https", muster.Printable(scheme))
	}
	return rest[:end], scheme, nil
}

func parseItem(scheme, item string) (string, error) {
	host, port, err := net.SplitHostPort(item)
	if err != nil {
		host, port = strings.Trim(item, "[]"), strconv.Itoa(muster.DefaultPort)
	}
	if n, err := strconv.Atoi(port); err != nil || n < 1 || n > 65535 || host == "" || strings.ContainsAny(host, "/@ []") {
		return "", fmt.Errorf("%q is not HOST or HOST:PORT", muster.Printable(item))
	}
	return scheme + "://" + net.JoinHostPort(host, port), nil
}

// Name returns "static".
func (s *Source) Name() string { return Name }

// Len returns how many endpoints the list has.
func (s *Source) Len() int { return len(s.endpoints) }

// Find returns the list.
func (s *Source) Find(context.Context) ([]discovery.Candidate, error) {
	found := make([]discovery.Candidate, len(s.endpoints))
	for i, endpoint := range s.endpoints {
		found[i] = discovery.Candidate{Endpoint: endpoint, Source: Name}
	}
	return found, nil
}
