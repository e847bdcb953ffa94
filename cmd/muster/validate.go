package main

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/musterhq/muster"
	"github.com/musterhq/muster/auth"
)

// finish checks what concerns several options at once, and reads the cookies.
func (l *loader) finish() {
	l.finishStore()
	l.checkJoining()
	l.settings.secureEndpoints()
	l.checkGossipPort()
	l.loadCookies()
}

func (l *loader) finishStore() {
	s := &l.settings
	if l.from["--config-store"] || !s.database.given && !s.database.disabled {
		return
	}
	url, err := s.database.storeURL()
	if err != nil {
		l.fault(muster.CodeBadConfig, "--config-store (config_store in the file): %w", err)
		return
	}
	s.Store = url
}

// checkJoining refuses settings that could have no effect.
func (l *loader) checkJoining() {
	s := &l.settings
	if s.JoinNodeID != "" && len(s.JoinEndpoints) == 0 {
		l.fault(muster.CodeUsage, "%s has no effect without %s", everyName("cluster-join-node-id"), everyName("cluster-join-endpoint"))
	}
	if s.discoverStore && !strings.HasPrefix(s.Store.Reveal(), "postgres") {
		l.fault(muster.CodeUsage, "%s: store reads the member table of a Postgres database, and %s names none", everyName("discovery"), everyName("config-store"))
	}
	if !s.standalone {
		return
	}
	for _, name := range []string{"--cluster-join-endpoint", "--discovery", "--bootstrap-expect"} {
		if l.from[name] {
			l.fault(muster.CodeBadConfig, "%s has no effect: cluster_config.enabled is false", name)
		}
	}
}

// everyName is an option by its flag, its variable and its place in the file: who
// has given half of a setting may have used any of them.
func everyName(flag string) string {
	for _, o := range options() {
		if o.flag == flag {
			return fmt.Sprintf("%s (%s, %s in the file)", o.name(), o.env(), o.keys[0])
		}
	}
	return "--" + flag
}

// secureEndpoints gives addresses without a scheme https where this node serves
// TLS itself: members of one cluster are alike.
func (s *settings) secureEndpoints() {
	if s.TLS.CertFile == "" {
		return
	}
	for _, i := range s.bareEndpoints {
		s.JoinEndpoints[i] = "https" + strings.TrimPrefix(s.JoinEndpoints[i], "http")
	}
}

func (l *loader) checkGossipPort() {
	_, port, err := net.SplitHostPort(l.settings.Bind)
	if want := l.settings.gossipPort; want != 0 && err == nil && port != strconv.Itoa(want) {
		l.fault(muster.CodeBadConfig, "cluster_config.gossip.port is %d and --mgmt-bind has port %s: gossip rides on the management port", want, port)
	}
}

// loadCookies fills the ring: the files, the secret on the command line, or the
// cookie in the data directory. On loopback that may be made later, by
// ensureCookie; elsewhere there must be one.
func (l *loader) loadCookies() {
	s := &l.settings
	files := s.cookieFiles
	if own := filepath.Join(s.DataDir, cookieName); len(files) == 0 && s.cookieInline.Empty() && exists(own) {
		files = []string{own}
	}
	s.cookieFiles = files
	source := auth.NewFiles(files, l.app.stdin, l.inlineCookie()...)
	cookies, err := source.Load()
	if err != nil {
		l.faults = append(l.faults, flatten(err)...)
	}
	s.Cookies, s.cookies = cookies, source
	if len(l.faults) == 0 && len(s.Cookies) == 0 && !loopback(s.Bind) && !s.Insecure {
		l.faults = append(l.faults, muster.Errorf(muster.CodeCookieMissing, "--mgmt-bind %s is reached from other machines, and there is no --cluster-cookie-file", s.Bind))
	}
}

// inlineCookie returns the cookie on the command line, if there is one.
func (l *loader) inlineCookie() []auth.Cookie {
	if l.settings.cookieInline.Empty() {
		return nil
	}
	cookie, err := auth.ParseCookie([]byte(l.settings.cookieInline.Reveal()))
	if err != nil {
		l.faults = append(l.faults, named("--cluster-cookie", err))
		return nil
	}
	return []auth.Cookie{cookie}
}

// named puts the name of an option before the text of a fault.
func named(name string, err error) error {
	e, ok := errors.AsType[*muster.Error](err)
	if !ok {
		return err
	}
	c := *e
	c.Text = name + ": " + e.Text
	return &c
}

// cookieName is the file in the data directory that a node on loopback makes.
const cookieName = "cookie"

// ensureCookie makes the cookie of a node that has none and is reached from this
// machine only.
func (s *settings) ensureCookie() error {
	if len(s.Cookies) > 0 || !loopback(s.Bind) && !s.Insecure {
		return nil
	}
	if err := os.MkdirAll(s.DataDir, 0o700); err != nil {
		return muster.Errorf(muster.CodeDataDir, "create the data directory: %w", err)
	}
	path := filepath.Join(s.DataDir, cookieName)
	if err := writeCookie(path); err != nil && !errors.Is(err, os.ErrExist) {
		return muster.Errorf(muster.CodeDataDir, "make a cookie: %w", err)
	}
	s.cookies, s.cookieFiles = auth.NewFiles([]string{path}, nil), []string{path}
	cookies, err := s.cookies.Load()
	s.Cookies = cookies
	return err
}

// writeCookie makes a new cookie file that only its owner can read. An existing
// file is never touched: the error is os.ErrExist.
func writeCookie(path string) error {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = file.WriteString(auth.NewCookie().Reveal() + "\n")
	if err := errors.Join(err, file.Sync(), file.Close()); err != nil {
		return errors.Join(err, os.Remove(path))
	}
	return nil
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// loopback reports whether an address to listen on is reached from this machine
// only.
func loopback(bind string) bool {
	host, _, err := net.SplitHostPort(bind)
	if err != nil {
		return false
	}
	if host == "localhost" {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.Unmap().IsLoopback()
}
