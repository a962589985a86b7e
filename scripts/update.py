from p5t5.commands.update import main

raise SystemExit(main())
