package gossip_test

import (
	"bytes"
	"crypto/ed25519"
	"errors"
	"reflect"
	"strings"
	"testing"

	"github.com/hashicorp/memberlist"

	"github.com/musterhq/muster"
	"github.com/musterhq/muster/gossip"
)

func sampleMeta() gossip.Meta {
	self := selfOf("sample", 7)
	return gossip.Meta{
		Boot: self.Boot, Endpoint: "https://sample.example:9113/plane", Name: self.Name,
		Zone: "eu-1a", Version: "v1.2.3", Role: muster.RoleObserver, Draining: true,
	}
}

func encode(t testing.TB, m gossip.Meta) []byte {
	t.Helper()
	raw, err := gossip.EncodeMeta(m, keyOf("sample"))
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func TestMetaRoundTrips(t *testing.T) {
	t.Parallel()
	want := sampleMeta()
	raw := encode(t, want)
	got, err := gossip.DecodeMeta(raw)
	if err != nil {
		t.Fatal(err)
	}
	want.PublicKey = keyOf("sample").Public().(ed25519.PublicKey)
	want.Signature = raw[len(raw)-ed25519.SignatureSize:]
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v\nwant %+v", got, want)
	}
}

func TestLongestMetaFits(t *testing.T) {
	t.Parallel()
	m := sampleMeta()
	m.Endpoint = "http://" + strings.Repeat("h", 249)
	m.Name, m.Zone, m.Version = strings.Repeat("n", 63), strings.Repeat("z", 32), strings.Repeat("v", 32)
	if raw := encode(t, m); len(raw) > memberlist.MetaMaxSize {
		t.Errorf("%d bytes, memberlist panics above %d", len(raw), memberlist.MetaMaxSize)
	}
}

func TestUnfitMetaIsNamedBeforeTheStart(t *testing.T) {
	t.Parallel()
	for name, spoil := range map[string]func(*gossip.Meta){
		"endpoint": func(m *gossip.Meta) { m.Endpoint = "http://" + strings.Repeat("h", 250) },
		"scheme":   func(m *gossip.Meta) { m.Endpoint = "ftp://host:1" },
		"user":     func(m *gossip.Meta) { m.Endpoint = "http://user:secret@host:1" },
		"query":    func(m *gossip.Meta) { m.Endpoint = "http://host:1/?q" },
		"bidi":     func(m *gossip.Meta) { m.Endpoint = "http://host\u202e:1" },
		"name":     func(m *gossip.Meta) { m.Name = "" },
		"zone":     func(m *gossip.Meta) { m.Zone = strings.Repeat("z", 33) },
		"version":  func(m *gossip.Meta) { m.Version = "a b" },
		"role":     func(m *gossip.Meta) { m.Role = "king" },
	} {
		m := sampleMeta()
		spoil(&m)
		if err := m.Check(); muster.CodeOf(err) != muster.CodeBadConfig {
			t.Errorf("%s: got %v, want code %s", name, err, muster.CodeBadConfig)
		}
	}
	if err := sampleMeta().Check(); err != nil {
		t.Error(err)
	}
}

func TestAnyChangedBitBreaksTheMeta(t *testing.T) {
	t.Parallel()
	raw := encode(t, sampleMeta())
	for i := range raw {
		for bit := range 8 {
			forged := bytes.Clone(raw)
			forged[i] ^= 1 << bit
			if m, err := gossip.DecodeMeta(forged); err == nil {
				t.Fatalf("byte %d bit %d changed, still read as %+v", i, bit, m)
			}
		}
	}
	for n := range raw {
		if _, err := gossip.DecodeMeta(raw[:n]); err == nil {
			t.Fatalf("the first %d bytes alone are accepted", n)
		}
	}
}

func TestMetaWithFieldsOfALaterVersionIsRead(t *testing.T) {
	t.Parallel()
	raw := encode(t, sampleMeta())
	body := append(raw[:len(raw)-ed25519.SignatureSize:len(raw)-ed25519.SignatureSize], "later"...)
	signed := append(body, ed25519.Sign(keyOf("sample"), append([]byte(gossip.MetaDomain), body...))...)
	m, err := gossip.DecodeMeta(signed)
	if err != nil || m.Name != "sample" {
		t.Errorf("got %+v, %v", m, err)
	}
}

func FuzzMeta(f *testing.F) {
	f.Add(encode(f, sampleMeta()))
	f.Add(encode(f, gossip.Meta{Name: "n"}))
	f.Add([]byte{1})
	f.Fuzz(func(t *testing.T, raw []byte) {
		m, err := gossip.ParseMeta(raw)
		if err != nil {
			return
		}
		if err := m.Check(); err != nil {
			t.Fatalf("read %+v, which is not acceptable: %v", m, err)
		}
		again, err := gossip.ParseMeta(encode(t, m))
		if err != nil {
			t.Fatal(err)
		}
		again.PublicKey, again.Signature = m.PublicKey, m.Signature
		if !reflect.DeepEqual(again, m) {
			t.Fatalf("got %+v\nwant %+v", again, m)
		}
	})
}

func FuzzExchange(f *testing.F) {
	f.Add([]byte("\x06\x83\xa5Nodes\x01\xacUserStateLen\x00\xa4Join\xc2\x83\xa4Name\xa1n\xa5State\x01\xa4Meta\xc0"))
	f.Add([]byte("\x06\x81\xa5Nodes\xcf\xff\xff\xff\xff\xff\xff\xff\xff"))
	f.Fuzz(func(t *testing.T, answer []byte) {
		n, err := gossip.ParseExchange(answer)
		if n > len(answer) {
			t.Fatalf("%d records in %d bytes (%v)", n, len(answer), err)
		}
	})
}

func TestRunRefusesAnUnfitMeta(t *testing.T) {
	t.Parallel()
	g, err := gossip.New(gossip.Config{
		Self: selfOf("n", 1), Inbox: gossip.NewInbox(), Link: deaf{},
		Meta: func() gossip.Meta { return gossip.Meta{Endpoint: "http://" + strings.Repeat("h", 400)} },
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := g.Run(t.Context()); muster.CodeOf(err) != muster.CodeBadConfig {
		t.Errorf("got %v, want code %s", err, muster.CodeBadConfig)
	}
}

func TestNewNamesEveryFault(t *testing.T) {
	t.Parallel()
	_, err := gossip.New(gossip.Config{Profile: "fast"})
	if muster.CodeOf(err) != muster.CodeBadConfig {
		t.Fatalf("got %v", err)
	}
	for _, want := range []string{"profile", "node key", "inbox"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q does not name the %s", err, want)
		}
	}
	self := selfOf("n", 1)
	self.ID = selfOf("m", 1).ID
	_, err = gossip.New(gossip.Config{Self: self, Inbox: gossip.NewInbox(), Link: deaf{}, Meta: sampleMeta})
	if err == nil || errors.Is(err, &muster.Error{Code: muster.CodeBadConfig}) {
		t.Errorf("a foreign node id: got %v", err)
	}
}
