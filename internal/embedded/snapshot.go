package embedded

import (
	"bytes"
	"crypto/sha256"
	"encoding/gob"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"github.com/google/renameio/v2/maybe"
)

// A snapshot file is one line, `oprc-embedded FORMAT DIGEST`, and then the entries
// as gob. The digest is the SHA-256 of what follows the line, in hex.
const (
	magic  = "oprc-embedded"
	format = "1"
)

// readSnapshot returns the entries and the digest of the snapshot; nothing if
// there is no such file. A file that is not as it was written is an error: what
// it held must not vanish without a word.
func readSnapshot(path string) ([]entry, string, error) {
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, "", nil
	}
	if err != nil {
		return nil, "", fmt.Errorf("read embedded state: %w", err)
	}
	entries, digest, err := decode(data)
	if err != nil {
		return nil, "", fmt.Errorf("read embedded state %s: %w; to start over with an empty state, move that file away", path, err)
	}
	return entries, digest, nil
}

func decode(data []byte) ([]entry, string, error) {
	line, body, _ := bytes.Cut(data, []byte("\n"))
	head := strings.Fields(string(line))
	if len(head) != 3 || head[0] != magic {
		return nil, "", errors.New("it is not a snapshot, or damaged")
	}
	if head[1] != format {
		return nil, "", fmt.Errorf("its format is %s and this program knows %s only", head[1], format)
	}
	if head[2] != digestOf(body) {
		return nil, "", errors.New("it is damaged or cut short (its digest does not match)")
	}
	var entries []entry
	if err := gob.NewDecoder(bytes.NewReader(body)).Decode(&entries); err != nil {
		return nil, "", fmt.Errorf("it is damaged (%w)", err)
	}
	return entries, head[2], nil
}

// writeSnapshot replaces the file, all or nothing, unless its digest would be last.
func writeSnapshot(path string, entries []entry, last string) (string, error) {
	var body bytes.Buffer
	if err := gob.NewEncoder(&body).Encode(entries); err != nil {
		return "", err
	}
	digest := digestOf(body.Bytes())
	if digest == last {
		return digest, nil
	}
	line := fmt.Sprintf("%s %s %s\n", magic, format, digest)
	return digest, maybe.WriteFile(path, append([]byte(line), body.Bytes()...), 0o600)
}

func digestOf(body []byte) string {
	sum := sha256.Sum256(body)
	return hex.EncodeToString(sum[:])
}
