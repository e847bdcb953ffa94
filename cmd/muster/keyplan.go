package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/musterhq/muster"
)

// live returns the members that count in a rotation: the others cannot be asked,
// and lose nothing that they have.
func live(nodes []muster.NodeKeys) (list []muster.NodeKeys) {
	for _, n := range nodes {
		if !n.State.Gone() {
			list = append(list, n)
		}
	}
	return list
}

// silent returns the members that cannot be asked.
func silent(nodes []muster.NodeKeys) (list []muster.NodeKeys) {
	for _, n := range nodes {
		if n.Error != "" && n.State != muster.StateLeft {
			list = append(list, n)
		}
	}
	return list
}

// kidsOf returns the key ids that live members accept, without doubles, in the
// order in which they are met.
func kidsOf(nodes []muster.NodeKeys) (kids []string) {
	for _, n := range live(nodes) {
		for _, kid := range n.Accepted {
			if !slices.Contains(kids, kid) {
				kids = append(kids, kid)
			}
		}
	}
	return kids
}

// firstsOf returns the key ids that live members dial with, without doubles.
func firstsOf(nodes []muster.NodeKeys) (kids []string) {
	for _, n := range live(nodes) {
		if len(n.Accepted) > 0 && !slices.Contains(kids, n.Accepted[0]) {
			kids = append(kids, n.Accepted[0])
		}
	}
	return kids
}

// lacking names the live members that do not accept a cookie.
func lacking(nodes []muster.NodeKeys, kid string) (names []string) {
	for _, n := range live(nodes) {
		if n.Error == "" && !slices.Contains(n.Accepted, kid) {
			names = append(names, n.Name)
		}
	}
	return names
}

// uneven says in which way the live members differ.
func uneven(nodes []muster.NodeKeys) (lines []string) {
	for _, kid := range kidsOf(nodes) {
		if names := lacking(nodes, kid); len(names) > 0 {
			lines = append(lines, fmt.Sprintf("%s is not accepted by %s", kid, strings.Join(names, ", ")))
		}
	}
	if firsts := firstsOf(nodes); len(firsts) > 1 {
		lines = append(lines, "members dial with different cookies: "+strings.Join(firsts, ", "))
	}
	return lines
}

// againstFirst says why a cookie must not be made the first one.
func againstFirst(nodes []muster.NodeKeys, kid string) (lines []string) {
	for _, n := range live(nodes) {
		switch {
		case n.Error != "":
			lines = append(lines, fmt.Sprintf("%s does not say whether it accepts %s: %s", n.Name, kid, n.Error))
		case !slices.Contains(n.Accepted, kid):
			lines = append(lines, fmt.Sprintf("%s does not accept %s", n.Name, kid))
		}
	}
	return lines
}

// againstDrop says who still needs a cookie.
func againstDrop(nodes []muster.NodeKeys, kid string) (lines []string) {
	for _, n := range live(nodes) {
		switch {
		case n.Error != "":
			lines = append(lines, fmt.Sprintf("%s does not say whether it needs %s: %s", n.Name, kid, n.Error))
		case slices.Equal(n.Accepted, []string{kid}):
			lines = append(lines, fmt.Sprintf("%s accepts no other cookie than %s", n.Name, kid))
		case len(n.Accepted) > 0 && n.Accepted[0] == kid:
			lines = append(lines, fmt.Sprintf("%s dials and signs with %s", n.Name, kid))
		}
		for _, t := range n.Tokens {
			if t.KID == kid {
				lines = append(lines, fmt.Sprintf("%s was shown %d tokens signed with %s in the last 24 h, by %s",
					n.Name, t.Count, kid, strings.Join(t.Subjects, ", ")))
			}
		}
	}
	return lines
}

// nextStep says how the exchange goes on, as far as one can tell from here.
func nextStep(nodes []muster.NodeKeys) string {
	kids, firsts := kidsOf(nodes), firstsOf(nodes)
	for _, kid := range kids {
		if names := lacking(nodes, kid); len(names) > 0 && slices.Contains(firsts, kid) {
			return fmt.Sprintf("on %s: muster keys rotate --add FILE with the cookie %s; or drop it elsewhere, if its time is over", strings.Join(names, ", "), kid)
		}
	}
	for _, kid := range kids {
		if names := lacking(nodes, kid); len(names) > 0 {
			return fmt.Sprintf("on %s: muster keys rotate --add FILE with the cookie %s; or, if it is the old one, muster keys rotate --drop %s on the others",
				strings.Join(names, ", "), kid, kid)
		}
	}
	switch {
	case len(kids) < 2:
		return "nothing; to begin an exchange: muster cookie new --out FILE, copy it to every machine, and there muster keys rotate --add FILE"
	case len(firsts) > 1:
		return "muster keys rotate --first KID with the new cookie on every machine; or to go back, muster keys abort KID with it"
	}
	return fmt.Sprintf("muster keys rotate --first KID with the new cookie on every machine, or if %s is the new one, --drop %s; or to go back, muster keys abort KID with the new one", firsts[0], strings.Join(without(kids, firsts[0]), ", --drop "))
}

func without(list []string, word string) []string {
	return slices.DeleteFunc(slices.Clone(list), func(s string) bool { return s == word })
}
