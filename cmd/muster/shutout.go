package main

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/musterhq/muster"
)

// How long the members have to read their cookie files again. They look each second.
const (
	rereadLimit = 10 * time.Second
	rereadEvery = 250 * time.Millisecond
)

// shutOut exchanges the cookies that an expelled machine knows, one step after the
// other, as long as the live members follow: they do if they read the cookie file
// that is edited here.
func (a *app) shutOut(ctx context.Context, r *remote, e muster.Expulsion) error {
	path, _ := a.cookiePath(r)
	fresh, file, err := a.freshCookie(path, e.KIDs)
	if err != nil {
		return err
	}
	against, err := a.settled(ctx, r, func(nodes []muster.NodeKeys) []string { return againstFirst(nodes, fresh) })
	if err != nil || len(against) > 0 {
		return a.halted(err, against, fmt.Sprintf("copy %s to every other machine, and there: muster keys rotate --add FILE; then go on as muster keys rotate says", file))
	}
	if err := a.edited(firstCookie(path, fresh), "%s is the first cookie in %s", fresh, path); err != nil {
		return err
	}
	against, err = a.settled(ctx, r, func(nodes []muster.NodeKeys) []string { return notDialling(nodes, fresh) })
	if err != nil || len(against) > 0 {
		return a.halted(err, against, fmt.Sprintf("on every other machine: muster keys rotate --first %s; then go on as muster keys rotate says", fresh))
	}
	if err := a.dropKnown(path, e.KIDs); err != nil {
		return err
	}
	against, err = a.settled(ctx, r, func(nodes []muster.NodeKeys) []string { return stillAccepting(nodes, e.KIDs) })
	if err != nil || len(against) > 0 {
		return a.halted(err, against, "on every other machine: muster keys rotate --drop KID with the old cookie")
	}
	if file != path {
		_ = os.Remove(file) // its content is in the cookie file; a second copy helps nobody
	}
	return a.edited(nil, "the cookie is exchanged: the expelled machine knows none that a member accepts; tokens signed with the old one have ended")
}

// freshCookie returns the key id of a cookie that the machine does not know, in the
// cookie file: one of an exchange under way, or a new one, and the file to copy.
func (a *app) freshCookie(path string, known []string) (kid, file string, err error) {
	f, err := readCookieFile(path)
	if err != nil {
		return "", "", err
	}
	if i := slices.IndexFunc(f.kids, func(kid string) bool { return !slices.Contains(known, kid) }); i >= 0 {
		return f.kids[i], path, nil
	}
	file = path + ".new"
	if err := a.newCookieFile(file, true); err != nil {
		return "", "", err
	}
	kid, err = addCookie(path, file)
	return kid, file, a.edited(err, "%s now holds %s too", path, kid)
}

func (a *app) dropKnown(path string, known []string) error {
	f, err := readCookieFile(path)
	if err != nil {
		return err
	}
	for _, kid := range f.kids {
		if !slices.Contains(known, kid) {
			continue
		}
		if err := a.edited(dropCookie(path, kid), "%s is no more in %s", kid, path); err != nil {
			return err
		}
	}
	return nil
}

// settled asks the members until nothing is against it any more, or the time is up.
func (a *app) settled(ctx context.Context, r *remote, against func([]muster.NodeKeys) []string) (lines []string, err error) {
	tick := time.NewTicker(rereadEvery)
	defer tick.Stop()
	for begun := time.Now(); time.Since(begun) < rereadLimit; {
		nodes, askErr := a.askKeys(ctx, r)
		if err = askErr; err == nil {
			if lines = against(nodes); len(lines) == 0 {
				return nil, nil
			}
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-tick.C:
		}
	}
	return lines, err
}

// halted says where the exchange stands and how it goes on.
func (a *app) halted(err error, against []string, next string) error {
	if err != nil {
		return err
	}
	for _, line := range against {
		_, _ = fmt.Fprintln(a.stderr, cleaned(line))
	}
	_, _ = fmt.Fprintf(a.stderr, "the node is expelled, the exchange of the cookie is not done; next: %s\n", next)
	return no
}

func notDialling(nodes []muster.NodeKeys, kid string) (lines []string) {
	for _, n := range live(nodes) {
		if len(n.Accepted) == 0 || n.Accepted[0] != kid {
			lines = append(lines, fmt.Sprintf("%s does not dial with %s yet", n.Name, kid))
		}
	}
	return lines
}

func stillAccepting(nodes []muster.NodeKeys, known []string) (lines []string) {
	for _, n := range live(nodes) {
		if kids := slices.DeleteFunc(slices.Clone(n.Accepted), func(kid string) bool { return !slices.Contains(known, kid) }); len(kids) > 0 {
			lines = append(lines, fmt.Sprintf("%s still accepts %s", n.Name, strings.Join(kids, ", ")))
		}
	}
	return lines
}
