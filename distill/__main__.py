"""`python -m distill mentor=… mentee=… data=… schedule=obedient seed=1`, installed as `mentee-distill`."""

from mentor_mentee.interrupt import while_importing


def main() -> None:
    with while_importing():
        from distill.command import main as command
    command()


if __name__ == "__main__":
    main()
