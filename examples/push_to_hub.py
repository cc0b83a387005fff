"""Publish a model on the Hub from Python, as `hf-lip2speech publish` does. Log in first: hf auth login.

python examples/push_to_hub.py MODEL user/name --facts FACTS.yaml
"""

import argparse

from hf_lip2speech.hub.publish import publish


def main() -> None:
    formatter = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=formatter)
    parser.add_argument("checkpoint", help="folder of a model: composed, converted or trained")
    parser.add_argument("repo_id", help="user/name on the Hub")
    parser.add_argument("--private", action="store_true", help="create a private repository")
    parser.add_argument("--facts", help="YAML file for the card: title, license, data, recipe, limits")
    parser.add_argument("--evaluation", help="folder that `hf-lip2speech evaluate` wrote")
    print(publish(**vars(parser.parse_args())))


if __name__ == "__main__":
    main()
