package auth

import (
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base32"
	"encoding/hex"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/musterhq/muster"
)

// The form of a cookie that muster makes: the prefix, then 32 random bytes and
// 3 bytes of checksum in base32, 56 characters.
const (
	cookiePrefix   = "mck1_"
	cookieBytes    = 32
	cookieChecksum = 3
)

// What a cookie that people bring along must have at least, and any at most.
const (
	minCookieLength   = 32
	minCookieDistinct = 12
	maxCookieLength   = 4096
)

// keySalt is the salt of every derived key. A new version of it makes a new
// protocol: nodes with different salts do not know each other.
const keySalt = "muster/v1"

// Cookie is one cluster secret with the keys derived from it. Printed, it is
// its key id.
type Cookie struct {
	keys *cookieKeys // a pointer, so that fmt cannot reach the keys
}

type cookieKeys struct {
	kid                          string
	link, token, session, beacon [32]byte
}

// NewCookie makes a cookie of 256 random bits with a checksum against damage
// in transit.
func NewCookie() Secret {
	random := make([]byte, cookieBytes)
	_, _ = rand.Read(random) // never fails: crypto/rand aborts the program instead
	return NewSecret(cookiePrefix + cookieEncoding().EncodeToString(append(random, checksum(random)...)))
}

// ParseCookie reads a cookie: one that NewCookie made, or any single line of at
// least 32 characters, 12 of them different. White space around it is ignored.
// The error has CodeWeakCookie.
func ParseCookie(raw []byte) (Cookie, error) {
	text := strings.TrimSpace(string(raw))
	if err := checkCookie(text); err != nil {
		return Cookie{}, err
	}
	return deriveKeys(text)
}

// KID returns the key id: eight hexadecimal digits that name the cookie and say
// nothing about it.
func (c Cookie) KID() string {
	if c.keys == nil {
		return ""
	}
	return c.keys.kid
}

// LinkPSK returns the pre-shared key of links between nodes.
func (c Cookie) LinkPSK() [32]byte { return c.keys.link }

// BeaconKey returns the key that authenticates discovery beacons.
func (c Cookie) BeaconKey() [32]byte { return c.keys.beacon }

// String returns "cookie" and the key id.
func (c Cookie) String() string { return "cookie " + c.KID() }

// GoString returns what String returns.
func (c Cookie) GoString() string { return c.String() }

// MarshalText returns what String returns.
func (c Cookie) MarshalText() ([]byte, error) { return []byte(c.String()), nil }

func checkCookie(text string) error {
	switch {
	case text == "":
		return weak("the cookie is empty")
	case strings.HasPrefix(text, "\ufeff"), strings.HasPrefix(text, "\xff\xfe"), strings.HasPrefix(text, "\xfe\xff"):
		return weak("the cookie begins with a byte order mark, which some editors write").
			WithFix("save the file as plain text without a byte order mark, or copy it again")
	case !utf8.ValidString(text):
		return weak("the cookie is no text in UTF-8")
	case len(text) > maxCookieLength:
		return weak("the cookie is longer than %d characters", maxCookieLength)
	case strings.ContainsFunc(text, func(r rune) bool { return unicode.IsSpace(r) || unicode.IsControl(r) }):
		return weak("the cookie has white space or control characters inside: it must be one word on one line")
	case strings.HasPrefix(text, cookiePrefix):
		return checkOwnForm(strings.TrimPrefix(text, cookiePrefix))
	}
	if n := len([]rune(text)); n < minCookieLength {
		return weak("the cookie has %d characters, it needs %d", n, minCookieLength)
	}
	if n := distinct(text); n < minCookieDistinct {
		return weak("the cookie has %d different characters, it needs %d", n, minCookieDistinct)
	}
	return nil
}

func checkOwnForm(encoded string) error {
	data, err := cookieEncoding().DecodeString(encoded)
	if err != nil || len(data) != cookieBytes+cookieChecksum || string(checksum(data[:cookieBytes])) != string(data[cookieBytes:]) {
		return weak("the cookie starts with %s but its checksum is wrong: characters are missing or changed", cookiePrefix).
			WithFix("copy the cookie file again, or make a new one: muster cookie new --out FILE")
	}
	return nil
}

func weak(format string, args ...any) *muster.Error {
	return muster.Errorf(muster.CodeWeakCookie, format, args...)
}

func distinct(text string) int {
	seen := map[rune]bool{}
	for _, r := range text {
		seen[r] = true
	}
	return len(seen)
}

func checksum(random []byte) []byte {
	sum := sha256.Sum256(append([]byte(cookiePrefix), random...))
	return sum[:cookieChecksum]
}

func cookieEncoding() *base32.Encoding {
	return base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)
}

func deriveKeys(text string) (Cookie, error) {
	k := &cookieKeys{}
	var kid [32]byte
	for info, key := range map[string]*[32]byte{
		"kid": &kid, "link": &k.link, "token": &k.token, "session": &k.session, "beacon": &k.beacon,
	} {
		derived, err := hkdf.Key(sha256.New, []byte(text), []byte(keySalt), info, len(key))
		if err != nil {
			return Cookie{}, fmt.Errorf("derive the %s key of the cookie: %w", info, err)
		}
		copy(key[:], derived)
	}
	k.kid = hex.EncodeToString(kid[:4])
	return Cookie{keys: k}, nil
}
